// The Recovery service: every call in one place. What a call needs of its caller is in permissions.ts.

import type { RecoveryServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';

import type { MasterKey } from '../fleet/master-key.ts';
import type { Failover } from '../recovery/contract.ts';
import type { Evidence } from '../recovery/evidence/evidence.ts';
import type { LookDeps } from '../recovery/objectives/look-at-plan.ts';
import type { LiveCheckDeps } from '../recovery/plans/live-check.ts';
import type { PlanDeps } from '../recovery/plans/apply.ts';
import type { RunDeskDeps } from '../recovery/runs/run-desk.ts';
import type { OperatorContext } from './permissions.ts';
import type { RecoveryJobsDeps } from './recovery-jobs.ts';
import { planCalls } from './recovery-plans.ts';
import { runCalls } from './recovery-runs.ts';

export interface RecoveryDeps
  extends RecoveryJobsDeps, PlanDeps, Omit<RunDeskDeps, 'failover'>, Pick<LiveCheckDeps, 'clock'> {
  /** Who can be told besides plans' own contacts. */
  readonly notify?: LookDeps['notify'];
  /** What else is known of a plan's readiness. */
  readonly further?: LookDeps['further'];
  readonly masterKey: MasterKey;
  readonly failover: Pick<Failover, 'look' | 'plansChanged'>;
  readonly evidence: Pick<Evidence, 'reportOf' | 'publicKey'>;
}

export function makeRecoveryService(deps: RecoveryDeps): RecoveryServiceImplementation<OperatorContext> {
  return { ...planCalls(deps), ...runCalls(deps) };
}
