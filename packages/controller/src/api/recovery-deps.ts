// What the Recovery service's calls stand on.

import type { MasterKey } from '../fleet/master-key.ts';
import type { Failover } from '../recovery/contract.ts';
import type { Evidence } from '../recovery/evidence/evidence.ts';
import type { LookDeps } from '../recovery/objectives/look-at-plan.ts';
import type { LiveCheckDeps } from '../recovery/plans/live-check.ts';
import type { PlanDeps } from '../recovery/plans/apply.ts';
import type { RunDeskDeps } from '../recovery/runs/run-desk.ts';
import type { RecoveryJobsDeps } from './recovery-jobs.ts';

export interface RecoveryDeps
  extends RecoveryJobsDeps, PlanDeps, Omit<RunDeskDeps, 'failover'>, Pick<LiveCheckDeps, 'clock'> {
  /** Who can be told besides plans' own contacts. */
  readonly notify?: LookDeps['notify'];
  /** What else is known of a plan's readiness. */
  readonly further?: LookDeps['further'];
  readonly suspicion?: LookDeps['suspicion'];
  readonly masterKey: MasterKey;
  readonly failover: Pick<Failover, 'look' | 'plansChanged' | 'override'>;
  readonly evidence: Pick<Evidence, 'reportOf' | 'publicKey'>;
}
