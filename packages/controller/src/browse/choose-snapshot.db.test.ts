import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { codeOf } from '../testing/test-controller.ts';
import { chooseSnapshot, latestSnapshots, listSnapshots } from './snapshots.ts';

const NONE = Buffer.alloc(0);

describe('choosing a snapshot', () => {
  let catalog: Catalog;
  before(async () => {
    catalog = await openTestCatalog();
    for (let n = 1; n <= 3; n++)
      await insert(n, 'd', 's', Buffer.concat([Buffer.from('aabbccdd', 'hex'), Buffer.alloc(28, n)]));
    await insert(1, 'other', 't', Buffer.alloc(32, 9));
  });
  after(() => catalog.close());

  async function insert(sequence: number, domainId: string, sourceId: string, id: Buffer): Promise<void> {
    await catalog.pool.query(
      `insert into snapshot (domain_id, id, host_id, source_id, sequence, session_id, commit_record_id, committed_at, started_at_ms,
         entries, files, bytes_total, bytes_read, bytes_new, bytes_stored, duration_ms, partial, warnings_total, highest_pack_sequence)
       values ($1, $2, 'h', $3, $4::int8, 'x', '', to_timestamp($4::int8 * 1000), 0, 1, 1, 1, 1, 1, 1, 1, false, 0, 1)`,
      [domainId, id, sourceId, sequence],
    );
  }
  const choose = (id: Buffer, atMs = 0, sourceId: string | null = 's', domainId = 'd'): Promise<{ sequence: number }> =>
    chooseSnapshot(catalog.pool, { domainId, sourceId: sourceId ?? undefined, id, atMs });

  it('takes the newest, or the newest committed at or before a time (I7: the catalog’s clock)', async () => {
    expect((await choose(NONE)).sequence).to.equal(3);
    expect((await choose(NONE, 2_000_000)).sequence).to.equal(2);
    expect((await choose(NONE, 2_999_999)).sequence).to.equal(2);
    expect(await codeOf(choose(NONE, 999_999))).to.equal('NOT_FOUND');
  });

  it('takes a prefix only while it names one, of at least four bytes', async () => {
    expect((await choose(Buffer.from('aabbccdd02', 'hex'))).sequence).to.equal(2);
    expect(await codeOf(choose(Buffer.from('aabbccdd', 'hex')))).to.equal('INVALID_ARGUMENT');
    expect(await codeOf(choose(Buffer.from('aabb', 'hex')))).to.equal('INVALID_ARGUMENT');
    expect(await codeOf(choose(Buffer.from('00112233', 'hex')))).to.equal('NOT_FOUND');
  });

  it('42 never finds another domain’s snapshot', async () => {
    expect(await codeOf(choose(Buffer.alloc(32, 9), 0, null))).to.equal('NOT_FOUND');
    expect((await choose(Buffer.alloc(32, 9), 0, null, 'other')).sequence).to.equal(1);
  });

  it('lists newest first and counts', async () => {
    expect((await listSnapshots(catalog.pool, 's', 0)).map((snapshot) => snapshot.sequence)).to.deep.equal([3, 2, 1]);
    expect((await listSnapshots(catalog.pool, 's', 2)).length).to.equal(2);
    const latest = (await latestSnapshots(catalog.pool, ['s', 'none'])).get('s');
    expect(latest?.count).to.equal(3);
    expect(latest?.latest.sequence).to.equal(3);
  });
});
