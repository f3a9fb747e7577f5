// All that is decided about a plan at rest, from one look: is it ready, what would a failover take and lose, is a drill due, and who is to be
// told. Pure. Tested in objectives.test.ts.

import { measureRun, type Measured } from '@holdfast/shared/recovery/report-times';
import { durationText } from '@holdfast/shared/recovery/step-types';

import type { Notification } from '../contract.ts';
import { drillState, type DrillState } from './drills.ts';
import { forecastOf, type Forecast } from './forecast.ts';
import { hasShownItself, type Fact, type PlanLook } from './plan-look.ts';
import { isReady, readinessOf, spanText } from './readiness.ts';

export interface PlanHealth {
  /** Errors first. */
  readonly facts: readonly Fact[];
  /** Without errors. */
  readonly ready: boolean;
  readonly forecast: Forecast;
  /** By the last run or drill that came to its end. */
  readonly measured: Measured;
  readonly drill: DrillState;
  readonly breaches: readonly Breach[];
}

/** An objective that would be missed now, or was by the last run. */
export interface Breach {
  readonly objective: 'rto' | 'rpo';
  readonly promisedMs: number;
  readonly actualMs: number;
  /** Undefined: a forecast. */
  readonly runAt: Date | undefined;
}

export function healthOf(look: PlanLook): PlanHealth {
  const forecast = forecastOf(look);
  const drill = drillState(look);
  const facts = readinessOf(look, { forecast, drill });
  const last = look.runs.find(hasShownItself);
  const measured: Measured =
    last === undefined
      ? { rtoMs: undefined, rpoMs: undefined }
      : measureRun({ ...last, startedAtMs: last.startedAt.getTime() });
  return {
    facts,
    ready: isReady(facts),
    forecast,
    measured,
    drill,
    breaches: breachesOf(look, forecast, measured, last?.startedAt),
  };
}

function breachesOf({ plan }: PlanLook, forecast: Forecast, measured: Measured, runAt: Date | undefined): Breach[] {
  const rows = [
    ['rto', forecast.rtoMs, undefined],
    ['rpo', forecast.rpoMs, undefined],
    ['rto', measured.rtoMs, runAt],
    ['rpo', measured.rpoMs, runAt],
  ] as const;
  return rows.flatMap(([objective, actualMs, at]) => {
    const promisedMs = plan.objectives[objective];
    return actualMs === undefined || actualMs <= promisedMs ? [] : [{ objective, promisedMs, actualMs, runAt: at }];
  });
}

type Draft = Pick<Notification, 'template' | 'facts' | 'key'>;

const DAY_MS = 86_400_000;

/**
 * What people are told of a plan that is like this. The keys make it once a day while it lasts, of an overdue drill once a week, of a mass change and
 * of what a run missed once; and again at once when something else is wrong than before.
 */
export function alertsOf(planId: string, { plan, now, primary, suspicion }: PlanLook, health: PlanHealth): Draft[] {
  const name = plan.metadata.name;
  const day = Math.floor(now.getTime() / DAY_MS);
  const alerts: Draft[] = [];
  const errors = health.facts.filter(({ level }) => level === 'error');
  if (errors.length > 0) {
    const subjects = [...new Set(errors.map(({ subject }) => subject))].join(', ');
    const [first] = errors;
    const reason = errors.map(({ subject, message }) => `${subject}: ${message}`).join('; ');
    const facts = { plan: name, reason, remedy: first?.remedy ?? '' };
    alerts.push({ template: 'unready', facts, key: `unready/${planId}/${day}/${subjects}` });
  }
  if (suspicion !== undefined) {
    const { source, atMs, why } = suspicion;
    const since = new Date(atMs).toISOString();
    const facts = { plan: name, source: `${primary}/${source}`, since, reason: why };
    alerts.push({ template: 'mass-change', facts, key: `mass-change/${planId}/${source}/${since}` });
  }
  for (const { objective, promisedMs, actualMs, runAt } of health.breaches) {
    const word = objective.toUpperCase();
    const what = runAt === undefined ? 'forecast' : 'measured';
    const facts = { plan: name, objective: word, [what]: spanText(actualMs), promised: durationText(promisedMs) };
    const when = runAt === undefined ? String(day) : runAt.toISOString();
    alerts.push({ template: 'objective-breached', facts, key: `breach/${planId}/${objective}/${when}` });
  }
  const { dueAt, lastAt, overdueMs } = health.drill;
  if (dueAt !== undefined && overdueMs > 0) {
    const week = Math.floor(overdueMs / (7 * DAY_MS));
    const facts = { plan: name, 'drill-due': dueAt.toISOString(), last: lastAt?.toISOString() ?? 'never' };
    alerts.push({ template: 'overdue-drill', facts, key: `overdue-drill/${planId}/${dueAt.toISOString()}/${week}` });
  }
  return alerts;
}
