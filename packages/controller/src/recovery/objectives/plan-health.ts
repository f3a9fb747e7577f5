// All that is decided about a plan at rest, from one look: is it ready, what would a failover take and lose, is a drill due, and who is to be
// told. Pure. Tested in objectives.test.ts.

import { measureRun, type Measured } from '@holdfast/shared/recovery/report-times';
import { durationText } from '@holdfast/shared/recovery/step-types';

import type { Notification } from '../contract.ts';
import { drillState, type DrillState } from './drills.ts';
import { forecastOf, type Forecast } from './forecast.ts';
import { hasShownItself, type PlanLook } from './plan-look.ts';
import { isReady, readinessOf, spanText, type Fact } from './readiness.ts';

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

/** An objective that would be missed now. */
export interface Breach {
  readonly objective: 'rto' | 'rpo';
  readonly promisedMs: number;
  readonly forecastMs: number;
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
  return { facts, ready: isReady(facts), forecast, measured, drill, breaches: breachesOf(look, forecast) };
}

function breachesOf({ plan }: PlanLook, forecast: Forecast): Breach[] {
  const { rto, rpo } = plan.objectives;
  const found: Breach[] = [];
  if (forecast.rtoMs !== undefined && forecast.rtoMs > rto)
    found.push({ objective: 'rto', promisedMs: rto, forecastMs: forecast.rtoMs });
  if (forecast.rpoMs !== undefined && forecast.rpoMs > rpo)
    found.push({ objective: 'rpo', promisedMs: rpo, forecastMs: forecast.rpoMs });
  return found;
}

type Draft = Pick<Notification, 'template' | 'facts' | 'key'>;

const DAY_MS = 86_400_000;

/**
 * What people are told of a plan that is like this. The keys make it once a day while it lasts, of an overdue drill once a week; and again
 * at once when something else is wrong than before.
 */
export function alertsOf(planId: string, { plan, now }: PlanLook, health: PlanHealth): Draft[] {
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
  for (const { objective, promisedMs, forecastMs } of health.breaches) {
    const word = objective.toUpperCase();
    const facts = { plan: name, objective: word, forecast: spanText(forecastMs), promised: durationText(promisedMs) };
    alerts.push({ template: 'objective-breached', facts, key: `breach/${planId}/${objective}/${day}` });
  }
  const { dueAt, lastAt, overdueMs } = health.drill;
  if (dueAt !== undefined && overdueMs > 0) {
    const week = Math.floor(overdueMs / (7 * DAY_MS));
    const facts = { plan: name, 'drill-due': dueAt.toISOString(), last: lastAt?.toISOString() ?? 'never' };
    alerts.push({ template: 'overdue-drill', facts, key: `overdue-drill/${planId}/${dueAt.toISOString()}/${week}` });
  }
  return alerts;
}

/**
 * Who is told of a plan outside of a notify step: its contacts and its owner. Without any of them, the controller's contacts.
 * @param ofController names of the settings' contacts
 */
export function alertContacts({ plan }: Pick<PlanLook, 'plan'>, ofController: readonly string[]): string[] {
  const { owner } = plan.metadata;
  const known = plan.contacts[owner] !== undefined || ofController.includes(owner) || owner.includes('@');
  const names = [...new Set([...Object.keys(plan.contacts), ...(known ? [owner] : [])])];
  return names.length > 0 ? names : [...ofController];
}
