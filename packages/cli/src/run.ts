// `holdfast run`: what recovery plans do and did: watch it, decide, and prove it.

import { Option, type Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { MOMENTS } from '@holdfast/shared/recovery/report-times';
import type { GetRunResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { followRun, judgeRun } from './recovery/follow-run.ts';
import { report, type ReportOptions } from './recovery/run-report.ts';
import {
  eventFields,
  eventLine,
  momentsOf,
  modeWords,
  runFields,
  runTable,
  runWords,
  stepFields,
  stepLines,
  troubleLines,
} from './recovery/run-words.ts';
import type { Session } from './session/session.ts';
import { formatFields } from './words/tables.ts';
import { formatDuration, formatTime } from './words/times.ts';

/** What people decide: the word, what it does, and whether it is about one step. */
const ACTIONS = [
  ['approve', 'agree that it goes on', 'step'],
  ['pause', 'start no further step', 'run'],
  ['resume', 'go on', 'run'],
  ['skip', 'go on without this step', 'must'],
  ['retry', 'try the failed step again', 'step'],
  ['done', 'a manual step was done', 'step'],
  ['abort', 'end it where it stands', 'run'],
  ['rollback', 'take back what its steps did', 'run'],
  ['confirm-fence', 'vouch that the old primary is off', 'run'],
  ['commit', 'make the failover final', 'run'],
  ['end-ahead', 'end what runs ahead of a failover that may not come', 'run'],
] as const;

export function define(program: Command, session: Session): void {
  const run = program
    .command('run')
    .description('runs of recovery plans: watch, decide, prove')
    .addHelpText('after', HELP);
  run
    .command('ls')
    .description('the newest runs')
    .argument('[plan]', 'only those of this plan')
    .option('--limit <count>', 'how many', '50')
    .action(
      async (plan: string | undefined, options: { limit: string }) => await list(session, plan ?? '', options.limit),
    );
  run
    .command('show')
    .description('a run: its steps, and what happened last')
    .argument('<id>', 'its id, or a beginning of it')
    .action(async (id: string) => await show(session, id));
  run
    .command('watch')
    .description('follow a run to its end; Ctrl-C stops following it')
    .argument('<id>', 'its id, or a beginning of it')
    .action(async (id: string) => await watch(session, id));
  for (const [word, does, about] of ACTIONS) {
    const action = run.command(word).description(does).argument('<id>', 'its id, or a beginning of it');
    if (about === 'must') action.argument('<step>', 'the step');
    if (about === 'step') action.argument('[step]', 'the step; without it the run, or the one step that waits');
    action.option('--reason <text>', 'why: it stands in the report');
    action.action(async (id: string, step: unknown, options: unknown) => {
      const given = about === 'run' ? step : options;
      await act(session, id, word, typeof step === 'string' ? step : '', reasonOf(given));
    });
  }
  run
    .command('timeline')
    .description('what happened when, from the last sign of life on')
    .argument('<id>', 'its id, or a beginning of it')
    .action(async (id: string) => await timeline(session, id));
  run
    .command('report')
    .description('the signed evidence of a run; or check one')
    .argument('[id]', 'its id, or a beginning of it')
    .option('--markdown', 'Markdown, for people (the default)')
    .addOption(new Option('--html', 'one page, to show and to print').conflicts('markdown'))
    .option('--verify <file>', 'check a report: JSON or HTML')
    .option('--key <fingerprint>', 'with --verify: the key that must have signed it')
    .option('--public-key', 'print the key that this controller signs with')
    .action(async (id: string | undefined, options: ReportOptions) => await report(session, id, options));
}

function reasonOf(options: unknown): string {
  const reason: unknown = typeof options === 'object' && options !== null ? Reflect.get(options, 'reason') : undefined;
  return typeof reason === 'string' ? reason : '';
}

async function list(session: Session, plan: string, limitText: string): Promise<void> {
  const limit = Math.max(1, Math.trunc(Number(limitText)) || 1);
  const { runs } = await (await session.recovery()).listRuns({ domain: await session.domain(), plan, limit });
  if (session.json) return await session.document({ runs: runs.map(runFields) });
  await session.write(runTable(runs, session.width));
}

async function find(
  session: Session,
  run: string,
): Promise<GetRunResponse & { readonly run: NonNullable<GetRunResponse['run']> }> {
  const found = await (await session.recovery()).getRun({ domain: await session.domain(), run });
  if (found.run === undefined)
    throw new HoldfastError('NOT_FOUND', `there is no run ${run}`, { hint: 'See: holdfast run ls' });
  return { ...found, run: found.run };
}

const EVENTS_SHOWN = 8;

async function show(session: Session, id: string): Promise<void> {
  const { run, steps, events } = await find(session, id);
  if (session.json) {
    return await session.document({ ...runFields(run), steps: steps.map(stepFields), events: events.map(eventFields) });
  }
  const table = stepLines(steps, session.environment.now(), session.width).join('\n');
  const trouble = steps.map(troubleLines);
  const last = events.slice(-EVENTS_SHOWN).map((event) => eventLine(event, Number(run.startedAtMs)));
  await session.write(
    [runWords(run), `${table}\n`, trouble.join(''), last.join('')].filter((part) => part !== '').join('\n'),
  );
}

async function watch(session: Session, typed: string): Promise<void> {
  const { id } = (await find(session, typed)).run;
  const { run, steps } = await followRun(session, id, { until: 'ended', unattended: false, events: session.json });
  if (run === undefined) return;
  if (!session.json) await session.write(endWords(session, run, [...steps.values()]));
  const error = judgeRun(session, run);
  if (error !== undefined) throw error;
}

/** What stands on the screen when the live table is gone. */
export function endWords(
  session: Session,
  run: NonNullable<GetRunResponse['run']>,
  steps: GetRunResponse['steps'],
): string {
  const lines = stepLines(steps, session.environment.now(), session.width);
  const next =
    run.state === 'awaiting-commit' ? `\nMake it final when all is well:\n  holdfast run commit ${run.id}\n` : '';
  return `${lines.join('\n')}\n\n${runWords(run)}${next}`;
}

async function act(session: Session, typed: string, action: string, step: string, reason: string): Promise<void> {
  const { id } = (await find(session, typed)).run;
  const recovery = await session.recovery();
  const { run } = await recovery.actOnRun({ domain: await session.domain(), run: id, action, step, reason });
  if (run === undefined) return;
  if (session.json) return await session.document(runFields(run));
  await session.write(runWords(run));
}

async function timeline(session: Session, id: string): Promise<void> {
  const { run, events } = await find(session, id);
  const moments = momentsOf(run);
  const marks = MOMENTS.flatMap(([key, name]) => {
    const atMs = moments[key];
    return atMs === undefined ? [] : [{ atMs, moment: key, name }];
  });
  if (session.json) {
    const happened = [
      ...marks.map(({ atMs, moment }) => ({ at: new Date(atMs).toISOString(), moment })),
      ...events.map(eventFields),
    ];
    return await session.document({
      ...runFields(run),
      timeline: happened.toSorted((a, b) => Date.parse(a.at ?? '') - Date.parse(b.at ?? '')),
    });
  }
  const sinceMs = Math.min(Number(run.startedAtMs), ...marks.map(({ atMs }) => atMs));
  const lines = [
    ...marks.map(({ atMs, name }) => ({
      atMs,
      text: `${`+${formatDuration(atMs - sinceMs)}`.padStart(10)}  ── ${name} ──\n`,
    })),
    ...events.map((event) => ({ atMs: Number(event.atMs), text: eventLine(event, sinceMs) })),
  ].toSorted((a, b) => a.atMs - b.atMs);
  const title = formatFields([
    ['Run', `${run.id}, ${modeWords(run)} of ${run.plan}`],
    ['From', formatTime(sinceMs)],
  ]);
  await session.write(`${title}\n${lines.map(({ text }) => text).join('')}`);
}

const HELP = `
Examples:
  holdfast run ls shop
  holdfast run watch 7d0c2c9e
  holdfast run retry 7d0c2c9e start --reason "the disk was full"
  holdfast run report 7d0c2c9e --html > report.html
  holdfast run report --verify report.html
`;
