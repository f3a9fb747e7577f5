// The Recovery service: every call in one place. What a call needs of its caller is in permissions.ts.

import type { RecoveryServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';

import type { OperatorContext } from './permissions.ts';
import type { RecoveryDeps } from './recovery-deps.ts';
import { planCalls } from './recovery-plans.ts';
import { runCalls } from './recovery-runs.ts';

export function makeRecoveryService(deps: RecoveryDeps): RecoveryServiceImplementation<OperatorContext> {
  return { ...planCalls(deps), ...runCalls(deps) };
}
