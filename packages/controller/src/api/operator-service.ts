// The Operator service: every call in one place. What a call needs of its caller is in permissions.ts.

import type { OperatorServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import { accountCalls } from './operator-accounts.ts';
import { domainCalls } from './operator-domains.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { fleetCalls } from './operator-fleet.ts';
import { jobCalls } from './operator-jobs.ts';
import { lookCalls } from './operator-looks.ts';
import { snapshotCalls } from './operator-snapshots.ts';
import type { OperatorContext } from './permissions.ts';

export function makeOperatorService(deps: OperatorDeps): OperatorServiceImplementation<OperatorContext> {
  return {
    ...accountCalls(deps),
    ...domainCalls(deps),
    ...fleetCalls(deps),
    ...jobCalls(deps),
    ...lookCalls(deps),
    ...snapshotCalls(deps),
  };
}
