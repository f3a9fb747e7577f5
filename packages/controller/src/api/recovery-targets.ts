// Does a plan say, or does anybody know, where each of its databases is restored to?
//
// Hazard: a restore that finds out behind the fence, when nobody serves any more. So a plan is refused before it is applied.
//
// Tested in data-directory.db.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Step } from '@holdfast/shared/recovery/step-types';

import { listSources, type Source } from '../fleet/sources.ts';
import type { PlanFinding } from '../recovery/plans/placement.ts';
import { isRestore } from '../recovery/runs/step-policy.ts';
import { dataPlaceOf, type DataDirectoryDeps } from './data-directory.ts';
import { engineOf } from './engine-restore.ts';

/** An error for each restore without a target whose database's directory is not known from a snapshot. */
export async function unplacedRestores(deps: DataDirectoryDeps, domainId: string, plan: Plan): Promise<PlanFinding[]> {
  const unsaid = plan.steps.filter((step) => isRestore(step.type) && !('target' in step && step.target !== undefined));
  const findings: PlanFinding[] = [];
  if (unsaid.length === 0) return findings;
  const sources = (await listSources(deps.catalog.pool, domainId)).filter(({ hostName }) => {
    return plan.placement.hosts.includes(hostName);
  });
  for (const step of unsaid) {
    const named = sources.filter(({ name }) => 'source' in step && name === step.source);
    if (named.every((source) => engineOf(source) === undefined) || (await isKnown(deps, named))) continue;
    findings.push(findingOf(step));
  }
  return findings;
}

async function isKnown(deps: DataDirectoryDeps, sources: readonly Source[]): Promise<boolean> {
  for (const source of sources) if ((await dataPlaceOf(deps, source)) !== undefined) return true;
  return false;
}

function findingOf(step: Step): PlanFinding {
  return {
    level: 'error',
    subject: step.id,
    line: 0,
    column: 0,
    message: `the plan does not say where "${step.id}" restores to, and no snapshot tells where the database lies on the primary`,
    remedy: 'Give the step a target: the data directory on the standby.',
  };
}
