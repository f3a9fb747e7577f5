import { expect } from 'chai';

import { openRecoveryFixture, type RecoveryFixture } from '../testing/recovery-fixture.ts';
import { sourceCandidates } from './recovery-points.ts';

describe('what a plan’s sources could be recovered to', () => {
  let fixture: RecoveryFixture;
  let hostId: string;

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
    hostId = fixture.hostIds.get('web-1')!;
    // The host fell silent 20 s ago, an hour after its last snapshot.
    const { pool } = fixture.catalog;
    await pool.query(`update host set connection_id = '', last_seen_at = now() - interval '20 s' where id = $1`, [
      hostId,
    ]);
    await pool.query(`update snapshot set committed_at = now() - interval '1 hour'`);
  });
  afterEach(() => fixture.close());

  /** Undefined: nobody knows. */
  const quietForS = async (): Promise<number | undefined> => {
    const { sources, nowMs } = await sourceCandidates(fixture.catalog.pool, hostId, ['files']);
    const upTo = sources[0]?.quietUpToMs;
    return upTo === undefined ? undefined : Math.round((nowMs - upTo) / 1000);
  };
  const watch = async (note: string): Promise<void> => {
    await fixture.catalog.pool.query(`update source set watching = 'continuous', watching_note = $1`, [note]);
  };

  it('a watched tree had not changed when its host was last heard of, but for what was being gathered', async () => {
    expect(await quietForS(), 'nobody watches').to.equal(undefined);
    await watch('the last backup failed');
    expect(await quietForS(), 'changes may wait').to.equal(undefined);
    await watch('');
    expect(await quietForS()).to.be.within(28, 36);
  });

  it('what was being backed up counts as lost from its beginning on', async () => {
    await watch('');
    await fixture.catalog.pool.query(
      `insert into vault_session (id, domain_id, host_id, source_id, job_id, state, epoch, created_at, expires_at)
       select 's', $2, host_id, id, '', 'live', 1, now() - interval '100 s', now() from source where host_id = $1`,
      [hostId, fixture.domainId],
    );
    expect(await quietForS()).to.be.within(108, 116);
    await fixture.catalog.pool.query(`update snapshot set committed_at = now() - interval '50 s'`);
    expect(await quietForS(), 'it is stored').to.be.within(28, 36);
  });
});
