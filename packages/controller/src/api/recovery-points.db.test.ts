import { expect } from 'chai';

import { openRecoveryFixture, type RecoveryFixture } from '../testing/recovery-fixture.ts';
import { sourceCandidates, suspicionOf } from './recovery-points.ts';

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

  /** A thousand snapshots, one every 10 s, the newest is now; the first is the fixture's own, of which `later` are copies. */
  const fill = async (odd: number, change: string): Promise<void> => {
    const { pool } = fixture.catalog;
    await pool.query(
      `update snapshot set committed_at = now() - interval '10000 s', bytes_total = 1000000, bytes_new = 1000000, bytes_stored = 400000, files = 100
       where source_id = (select id from source where host_id = $1 and name = 'files')`,
      [hostId],
    );
    await pool.query(
      `create temporary table one as select s.* from snapshot s join source o on o.id = s.source_id where o.host_id = '${hostId}'
         and o.name = 'files' order by s.sequence limit 1;
       delete from snapshot s using one where s.source_id = one.source_id and s.id <> one.id;
       update one set bytes_new = 1000, bytes_stored = 400;
       create temporary table many as select * from one where false;
       insert into many select one.* from one, generate_series(1, 999);
       create temporary sequence n;
       update many set sequence = nextval('n') + (select sequence from one);
       update many set id = sha256(sequence::text::bytea),
         committed_at = now() - (999 - (sequence - (select sequence from one))) * interval '10 s';
       update many set ${change} where sequence = (select sequence from one) + ${odd};
       insert into snapshot select * from many;
       drop table one, many; drop sequence n;`,
    );
  };

  it('an attack is seen however many snapshots came after it', async () => {
    await fill(100, 'bytes_new = 900000, bytes_stored = 900000');
    const { pool } = fixture.catalog;
    const suspicion = await suspicionOf(pool, hostId, ['files', 'db']);
    expect(suspicion).to.include({ source: 'files', why: 'most of its bytes are new' });
    const { sources, nowMs } = await sourceCandidates(pool, hostId, ['files']);
    expect(Math.round((nowMs - suspicion!.atMs) / 1000)).to.be.within(8_990, 9_000);
    const before = sources[0]!.snapshots.find(({ committedAtMs }) => committedAtMs < suspicion!.atMs);
    expect(Math.round((nowMs - before!.committedAtMs) / 1000), 'what a run would take').to.be.within(9_000, 9_010);
  });

  it('of a quiet source the newest are enough, and of an earlier time those from then', async () => {
    await fill(100, 'files = 99');
    const { pool } = fixture.catalog;
    expect(await suspicionOf(pool, hostId, ['files'])).to.equal(undefined);
    const { sources, nowMs } = await sourceCandidates(pool, hostId, ['files']);
    expect(sources[0]!.snapshots).to.have.length(500);
    const then = await sourceCandidates(pool, hostId, ['files'], nowMs - 9_000_000);
    expect(Math.round((nowMs - then.sources[0]!.snapshots[0]!.committedAtMs) / 1000)).to.be.within(9_000, 9_010);
  });
});
