// Plans for people and for programs: the list, one plan, its objectives.

import type { GetPlanResponse, Objectives, PlanInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { formatFields, formatTable } from '../words/tables.ts';
import { formatAge, formatDuration, formatTime, isoTime } from '../words/times.ts';
import { factLines, findingFields } from './finding-words.ts';
import { runFields, runTable } from './run-words.ts';

export function planFields(plan: PlanInfo) {
  const { objectives } = plan;
  const known = (ms: bigint | undefined): number | null => (ms === undefined || ms === 0n ? null : Number(ms));
  return {
    id: plan.id,
    name: plan.name,
    revision: plan.revision,
    state: plan.state,
    ready: isReady(plan),
    mode: plan.mode,
    primary: plan.primary,
    standby: plan.standby,
    epoch: Number(plan.epoch),
    lease: plan.lease || null,
    verdict: plan.verdict || null,
    objectives: {
      rtoMs: known(objectives?.rtoMs),
      rpoMs: known(objectives?.rpoMs),
      forecastRtoMs: known(objectives?.forecastRtoMs),
      forecastRpoMs: known(objectives?.forecastRpoMs),
      measuredRtoMs: known(objectives?.measuredRtoMs),
      measuredRpoMs: known(objectives?.measuredRpoMs),
    },
    lastDrillAt: isoTime(Number(plan.lastDrillAtMs)),
    drillDueAt: isoTime(Number(plan.drillDueAtMs)),
    readiness: plan.readiness.map(findingFields),
  };
}

/** Nothing that a run can't do without is missing. */
export function isReady(plan: PlanInfo): boolean {
  return plan.state !== 'unverified' && plan.readiness.every(({ level }) => level !== 'error');
}

export function planTable(plans: readonly PlanInfo[], nowMs: number, width: number | undefined): string {
  return formatTable(
    [
      { title: 'PLAN', cutTo: 12 },
      { title: 'STATE' },
      { title: 'PRIMARY', cutTo: 8 },
      { title: 'STANDBY', cutTo: 8 },
      { title: 'DETECTION', spare: true },
      { title: 'RTO' },
      { title: 'RPO' },
      { title: 'DRILL', brief: (cell) => cell.replace(' ago', '') },
    ],
    plans.map((plan) => [
      plan.name,
      stateWord(plan),
      plan.primary,
      plan.standby,
      plan.mode,
      forecastCell(plan.objectives?.forecastRtoMs, plan.objectives?.rtoMs),
      forecastCell(plan.objectives?.forecastRpoMs, plan.objectives?.rpoMs),
      drillWord(plan, nowMs),
    ]),
    width,
  );
}

function stateWord(plan: PlanInfo): string {
  return plan.state === 'ready' && !isReady(plan) ? 'unready' : plan.state;
}

/** Forecast of promised. */
function forecastCell(forecastMs = 0n, promisedMs = 0n): string {
  const promised = compactSpan(Number(promisedMs));
  return forecastMs === 0n ? `? of ${promised}` : `${compactSpan(Number(forecastMs))} of ${promised}`;
}

/** "850 ms", "17 s", "15 min", "4 h". */
function compactSpan(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function drillWord(plan: PlanInfo, nowMs: number): string {
  if (isOverdue(plan, nowMs)) return 'overdue';
  return plan.lastDrillAtMs === 0n ? 'never' : formatAge(Number(plan.lastDrillAtMs), nowMs);
}

function isOverdue(plan: PlanInfo, nowMs: number): boolean {
  return plan.drillDueAtMs !== 0n && Number(plan.drillDueAtMs) < nowMs;
}

export interface PlanWorry {
  readonly level: string;
  readonly subject: string;
  readonly message: string;
  readonly hint: string;
}

/** What a person should look at: the errors of a plan, what it would miss, and a drill that is overdue. */
export function planWorries(plans: readonly PlanInfo[], nowMs: number): PlanWorry[] {
  return plans.flatMap((plan) => {
    const subject = `plan ${plan.name}`;
    const worries: PlanWorry[] = plan.readiness
      .filter(({ level }) => level === 'error')
      .map(({ subject: about, message, remedy }) => ({
        level: 'critical',
        subject,
        message: `${about}: ${message}`,
        hint: remedy,
      }));
    if (plan.state === 'split-brain-suspected')
      worries.push({
        level: 'critical',
        subject,
        message: 'two hosts claim to serve',
        hint: `holdfast plan show ${plan.name}`,
      });
    for (const [word, promised, forecast] of objectiveRows(plan.objectives)) {
      if (promised > 0 && forecast > promised) {
        const message = `${word}: ${compactSpan(forecast)} now, ${compactSpan(promised)} promised`;
        worries.push({ level: 'warning', subject, message, hint: `holdfast plan show ${plan.name}` });
      }
    }
    if (isOverdue(plan, nowMs)) {
      const hint = `holdfast plan run ${plan.name} --mode drill`;
      worries.push({
        level: 'warning',
        subject,
        message: `a drill was due ${formatTime(Number(plan.drillDueAtMs))}`,
        hint,
      });
    }
    return worries;
  });
}

function objectiveRows(
  objectives: Objectives | undefined,
): [word: string, promised: number, forecast: number, measured: number][] {
  if (objectives === undefined) return [];
  const { rtoMs, forecastRtoMs, measuredRtoMs, rpoMs, forecastRpoMs, measuredRpoMs } = objectives;
  return [
    ['RTO', Number(rtoMs), Number(forecastRtoMs), Number(measuredRtoMs)],
    ['RPO', Number(rpoMs), Number(forecastRpoMs), Number(measuredRpoMs)],
  ];
}

export function planWords(
  { plan, revisions, runs }: GetPlanResponse,
  nowMs: number,
  width: number | undefined,
): string {
  if (plan === undefined) return '';
  const newest = revisions.find(({ revision }) => revision === plan.revision);
  const applied =
    newest === undefined ? '' : `, applied ${formatTime(Number(newest.appliedAtMs))} by ${newest.appliedBy}`;
  const objectives = objectiveRows(plan.objectives).map(([word, promised, forecast, measured]): [string, string] => {
    const parts = [
      `promised ${compactSpan(promised)}`,
      forecast === 0 ? 'no forecast yet' : `now ${formatDuration(forecast)}`,
      ...(measured === 0 ? [] : [`last measured ${formatDuration(measured)}`]),
    ];
    return [word, parts.join(', ')];
  });
  const due = plan.drillDueAtMs === 0n ? 'no schedule' : `next due ${formatTime(Number(plan.drillDueAtMs))}`;
  const fields = formatFields([
    ['Plan', `${plan.name}, revision ${plan.revision}${applied}`],
    ['State', stateWord(plan)],
    ['Serves', `${plan.primary}, with ${plan.standby} as its standby; epoch ${plan.epoch}`],
    [
      'Detection',
      [plan.mode, plan.lease && `lease ${plan.lease}`, plan.verdict && `primary ${plan.verdict}`]
        .filter((part) => part !== '')
        .join(', '),
    ],
    ...objectives,
    [
      'Drill',
      `${plan.lastDrillAtMs === 0n ? 'none yet' : `last ${formatAge(Number(plan.lastDrillAtMs), nowMs)}`}, ${due}`,
    ],
  ]);
  const sections = [fields, factLines(plan.readiness, true)];
  if (runs.length > 0) sections.push(runTable(runs, width));
  return sections.filter((section) => section !== '').join('\n');
}

export function planDetails({ plan, document, revisions, runs }: GetPlanResponse) {
  return {
    ...(plan === undefined ? {} : planFields(plan)),
    document,
    revisions: revisions.map(({ revision, appliedAtMs, appliedBy }) => ({
      revision,
      appliedAt: isoTime(Number(appliedAtMs)),
      appliedBy,
    })),
    runs: runs.map(runFields),
  };
}
