// Which steps may run `ahead`: before anything is decided for good, while the primary may well serve.
//
// Hazard: a run that is never approved, and has ended a warm copy, started a second database server, or overwritten what lies where the primary
// has its data. So what may run ahead is named here, and a type that nobody thought of can't.
//
// Pure. Tested in run-ahead.test.ts.

import type { Plan } from './plan.ts';
import type { Step } from './step-types.ts';

/** A document that an older version accepted may ask for more than is safe: that waits for its turn. */
export function runsAhead(step: Step, plan: Pick<Plan, 'placement'>): boolean {
  return step.ahead && whyNotAhead(step, plan) === undefined;
}

/**
 * Whether it may run already while the primary is only suspected, before there is a run. A restore may not: its point is pinned by the run. And
 * whoever is silent, or stands aside as a witness, is not asked for it.
 */
export function preparesAhead(step: Step, plan: Pick<Plan, 'placement'>): boolean {
  if (!runsAhead(step, plan)) return false;
  switch (step.type) {
    case 'wait':
      return true;
    case 'rebuild':
    case 'check.tcp':
    case 'check.sql':
      return step.host === 'standby';
    case 'check.http':
      return step.host === 'standby' && step.from === undefined;
    default:
      return false;
  }
}

/** For people, after the step's name; undefined: it may. */
export function whyNotAhead(step: Step, plan: Pick<Plan, 'placement'>): string | undefined {
  switch (step.type) {
    case 'wait':
    case 'check.http':
    case 'check.tcp':
    case 'check.sql':
      return undefined;
    case 'rebuild':
      return notOnStandby(step.host);
    case 'restore.files':
    case 'restore.sqlite':
      return notOnStandby(step.host) ?? notAside(step, plan);
    case 'restore.postgres':
    case 'restore.mariadb':
    case 'restore.redis':
      return `a ${step.type} step can't run ahead: it starts the server that it restores, or ends its warm copy`;
    default:
      return `a ${step.type} step can't run ahead`;
  }
}

/** A host's own name says nothing of its role: after a failover it is the primary. */
function notOnStandby(host: string): string | undefined {
  return host === 'standby' ? undefined : `what changes a host runs ahead on "standby" alone, not on "${host}"`;
}

function notAside(
  step: Step & { target?: string | undefined; unit?: string | undefined },
  plan: Pick<Plan, 'placement'>,
): string | undefined {
  if (plan.placement.mode === 'warm') return 'a warm copy is kept up to date anyway, and a restore ahead would end it';
  if (step.unit !== undefined)
    return `it would stop and start ${step.unit} before anything is decided: leave "unit" to a service.start`;
  if (step.target === undefined)
    return 'a restore that runs ahead needs a "target" of its own: it may turn out that nobody needed it';
  return undefined;
}
