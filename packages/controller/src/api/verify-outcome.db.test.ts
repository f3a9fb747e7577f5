import { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { expect } from 'chai';

import { openTestCatalog } from '../testing/test-catalog.ts';
import type { DescribeFiles, Vault } from '../vault/contract.ts';
import { completeVerify } from './verify-outcome.ts';

describe('completing a verify', () => {
  it('threat 8 the scrub names files by itself, whatever the agent could say', async () => {
    const catalog = await openTestCatalog();
    const snapshotId = Buffer.alloc(32, 6);
    await catalog.pool.query(`insert into domain (id, name, managed) values ('d', 'default', false)`);
    await catalog.pool.query(`insert into host (id, domain_id, name, state) values ('h', 'd', 'web-1', 'enrolled')`);
    await catalog.pool.query(`insert into source (id, host_id, name, spec) values ('s', 'h', 'site', '')`);
    await catalog.pool.query(
      `insert into job (id, domain_id, host_id, source_id, kind, state, request, snapshot_id, requested_by)
       values ('j', 'd', 'h', 's', 'verify', 'running', '', $1, 'test')`,
      [snapshotId],
    );
    const vault: Pick<Vault, 'verify'> = {
      verify: async (scope, options) => {
        const hurt = { domainId: scope.domainId!, snapshotId: Buffer.from(scope.snapshotIds![0]!), objectIds: ['00'] };
        const files = await options?.describeFiles?.(hurt);
        const snapshot = { snapshotId: hurt.snapshotId.toString('hex'), sourceId: 's', sequence: 1, objectIds: ['00'] };
        const snapshots = [{ ...snapshot, files }];
        return { packsChecked: 1, objectsChecked: 1, bytesChecked: 1, damages: [], snapshots, logPieces: [] };
      },
    };
    const describeFiles: DescribeFiles = ({ domainId, objectIds }) =>
      Promise.resolve({ named: [{ path: `${domainId}/${objectIds[0]}`, others: 0 }], more: false });
    const failed = JobOutcome.fromPartial({ result: 'failed', errorCode: 'DAMAGED', errorMessage: 'no manifest' });

    const deps = { catalog, vault, describeFiles: () => describeFiles };
    const outcome = await completeVerify(deps, 'h', 'j', failed);
    expect(outcome).to.include({ result: 'failed', errorMessage: 'no manifest' });
    expect(outcome.warnings.map(({ path }) => path.toString())).to.include('d/00');
    expect(await completeVerify(deps, 'another host', 'j', failed)).to.equal(failed);
    await catalog.close();
  });
});
