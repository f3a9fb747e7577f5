// What a run that is followed was last told to be.

import type { RunEvent, RunInfo, StepInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';

export interface FollowedRun {
  run: RunInfo | undefined;
  /** In the order in which they were told first. */
  readonly steps: Map<string, StepInfo>;
  readonly events: RunEvent[];
}
