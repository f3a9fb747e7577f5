// Runs and their steps for people and for programs. The members of the documents are an interface that other people script: they are only
// ever added to.

import { measureRun, type RunMoments } from '@holdfast/shared/recovery/report-times';
import type { RunEvent, RunInfo, StepInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { ID_PREFIX_LENGTH } from '../words/names.ts';
import { plainText } from '../words/plain-text.ts';
import { formatFields, formatTable } from '../words/tables.ts';
import { formatDuration, formatTime, isoTime } from '../words/times.ts';

const MOMENT_FIELDS = {
  lastSignOfLife: 'lastSignOfLifeMs',
  suspected: 'suspectedMs',
  declaredDead: 'declaredDeadMs',
  approved: 'approvedMs',
  fenced: 'fencedMs',
  restored: 'restoredMs',
  started: 'startedMs',
  switched: 'switchedMs',
  healthy: 'healthyMs',
} as const;

export function momentsOf({ times }: RunInfo): RunMoments {
  const known = Object.entries(MOMENT_FIELDS).flatMap(([key, field]) => {
    const ms = Number(times?.[field] ?? 0n);
    return ms === 0 ? [] : [[key, ms] as const];
  });
  return Object.fromEntries(known);
}

function measured(run: RunInfo): { rtoMs: number | undefined; rpoMs: number | undefined } {
  const recoveryPointMs = run.recoveryPointMs === 0n ? undefined : Number(run.recoveryPointMs);
  return measureRun({ mode: run.mode, startedAtMs: Number(run.startedAtMs), recoveryPointMs, moments: momentsOf(run) });
}

/** A preparation is no run of a mode yet: it may turn out that nothing has to be failed over. */
export function modeWords({ ahead, mode }: Pick<RunInfo, 'ahead' | 'mode'>): string {
  return ahead ? 'ahead' : mode;
}

export function runFields(run: RunInfo) {
  const moments = momentsOf(run);
  const { rtoMs, rpoMs } = measured(run);
  const times = Object.keys(MOMENT_FIELDS).map((key) => [key, isoTime(moments[key as keyof RunMoments] ?? 0)]);
  return {
    id: run.id,
    plan: run.plan,
    revision: run.revision,
    mode: run.mode,
    ahead: run.ahead,
    state: run.state,
    reason: run.reason || null,
    from: run.fromHost,
    to: run.toHost,
    epoch: Number(run.epoch),
    startedBy: run.startedBy,
    startedAt: isoTime(Number(run.startedAtMs)),
    finishedAt: isoTime(Number(run.finishedAtMs)),
    recoveryPoint: isoTime(Number(run.recoveryPointMs)),
    pointFindings: run.pointFindings,
    times: Object.fromEntries(times) as Record<keyof RunMoments, string | null>,
    rtoMs: rtoMs ?? null,
    rpoMs: rpoMs ?? null,
  };
}

export function stepFields(step: StepInfo) {
  return {
    id: step.id,
    type: step.type,
    host: step.host || null,
    state: step.state,
    attempt: step.attempt,
    needs: step.needs,
    startedAt: isoTime(Number(step.startedAtMs)),
    finishedAt: isoTime(Number(step.finishedAtMs)),
    message: step.message || null,
    remedy: step.remedy || null,
    output: step.output || null,
    facts: Object.fromEntries(step.facts.map(({ name, value }) => [name, value])),
  };
}

export function eventFields({ sequence, atMs, actor, step, kind, message }: RunEvent) {
  return { sequence: Number(sequence), at: isoTime(Number(atMs)), actor, step: step || null, kind, message };
}

export function runTable(runs: readonly RunInfo[], width: number | undefined): string {
  return formatTable(
    [
      { title: 'RUN', brief: (id) => id.slice(0, ID_PREFIX_LENGTH) },
      { title: 'PLAN', cutTo: 8 },
      { title: 'MODE' },
      { title: 'STATE' },
      { title: 'FROM → TO', cutTo: 12, spare: true },
      { title: 'STARTED', brief: (time) => time.slice(0, 'YYYY-MM-DD HH:MM'.length) },
      { title: 'RTO', align: 'right' },
      { title: 'RPO', align: 'right' },
      { title: 'BY', spare: true },
    ],
    runs.map((run) => {
      const { rtoMs, rpoMs } = measured(run);
      const spans = [rtoMs, rpoMs].map((ms) => (ms === undefined ? '' : formatDuration(ms)));
      const from = `${run.fromHost} → ${run.toHost}`;
      return [
        run.id,
        run.plan,
        modeWords(run),
        run.state,
        from,
        formatTime(Number(run.startedAtMs)),
        ...spans,
        run.startedBy,
      ];
    }),
    width,
  );
}

/** What the run is, in labelled lines. */
export function runWords(run: RunInfo): string {
  const { rtoMs, rpoMs } = measured(run);
  const finished = run.finishedAtMs === 0n ? '' : formatTime(Number(run.finishedAtMs));
  return formatFields([
    ['Run', run.id],
    ['Of', `${run.plan}, revision ${run.revision}, ${modeWords(run)}`],
    ['State', run.reason === '' ? run.state : `${run.state}: ${plainText(run.reason)}`],
    ['From, to', `${run.fromHost} → ${run.toHost}, epoch ${run.epoch}`],
    ['Started', `${formatTime(Number(run.startedAtMs))} by ${run.startedBy}`],
    ['Finished', finished],
    ['Recovery point', pointWords(run)],
    ['Measured RTO', rtoMs === undefined ? '' : formatDuration(rtoMs)],
    ['Measured RPO', rpoMs === undefined ? '' : formatDuration(rpoMs)],
  ]);
}

/** When it is, and why it is that. */
function pointWords({ recoveryPointMs, pointFindings }: RunInfo): string {
  const at = recoveryPointMs === 0n ? '' : formatTime(Number(recoveryPointMs));
  return [at, ...pointFindings.map(plainText)].filter((part) => part !== '').join('; ');
}

const MARKS: Readonly<Record<string, string>> = {
  ok: '✓',
  skipped: '–',
  undone: '↶',
  failed: '✗',
  'timed-out': '✗',
  unknown: '?',
  pending: ' ',
  waiting: '…',
  retrying: '…',
};

/** One line a step: mark, name, type, host, state, time taken, what was said. */
export function stepLines(steps: readonly StepInfo[], nowMs: number, width: number | undefined): string[] {
  const table = formatTable(
    [
      { title: ' ' },
      { title: 'STEP', cutTo: 10 },
      { title: 'TYPE', spare: true },
      { title: 'HOST', cutTo: 8 },
      { title: 'STATE' },
      { title: 'TOOK', align: 'right' },
      { title: 'SAID', cutTo: 6 },
    ],
    steps.map((step) => [
      MARKS[step.state] ?? '▸',
      step.id,
      step.type,
      step.host,
      step.attempt > 1 ? `${step.state} (try ${step.attempt})` : step.state,
      tookText(step, nowMs),
      plainText(step.message),
    ]),
    width,
  );
  return table.trimEnd().split('\n');
}

const OUTPUT_LINES = 10;
const AT_REST = new Set(['ok', 'skipped', 'undone']);

/** Of a step that is not well: what was said, what to do, and what its program printed last; '' for all others. */
export function troubleLines({ id, state, message, remedy, output }: StepInfo): string {
  if (AT_REST.has(state) || (remedy === '' && output === '')) return '';
  const printed = output.trimEnd() === '' ? [] : output.trimEnd().split('\n').slice(-OUTPUT_LINES);
  const lines = [...(remedy === '' ? [] : [remedy]), ...printed.map((line) => `| ${line}`)];
  return `${id}: ${plainText(message)}\n${lines.map((line) => `   ${plainText(line)}\n`).join('')}`;
}

function tookText({ startedAtMs, finishedAtMs }: StepInfo, nowMs: number): string {
  if (startedAtMs === 0n) return '';
  return formatDuration((finishedAtMs === 0n ? nowMs : Number(finishedAtMs)) - Number(startedAtMs));
}

/** "+12.4 s  db  restored": since the run's first moment. */
export function eventLine({ atMs, actor, step, message }: RunEvent, sinceMs: number): string {
  const offset = `${Number(atMs) < sinceMs ? '-' : '+'}${formatDuration(Math.abs(Number(atMs) - sinceMs))}`;
  const who = actor === 'engine' ? '' : ` (${actor})`;
  return `${offset.padStart(10)}  ${step === '' ? '' : `${step}: `}${plainText(message)}${who}\n`;
}
