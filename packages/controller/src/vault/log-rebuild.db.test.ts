// Logs rebuilt from packs alone: the tables equal the lost ones, and what was lost with a pack is a gap.

import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import {
  commitBase,
  gapOf,
  lsn,
  pieceOf,
  pointOf,
  rangeOf,
  storeLog,
  timeline1,
  timeline2,
  type TestPiece,
} from '../testing/log-fixture.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { newHost, openTestVault, systemKeys } from '../testing/vault-fixture.ts';
import { loadRuns } from './log-rows.ts';
import { rebuildCatalog } from './rebuild.ts';

const TABLES: Readonly<Record<string, string>> = {
  log_segment: `select domain_id, host_id, source_id, object_id, record_id, length_bytes, system_identifier, timeline, file,
    start_order, start_text, end_order, end_text, first_commit_at_ms, last_commit_at_ms, complete_to_ms, marks, merged, stored_at,
    superseded_at is null as live from log_segment order by source_id, timeline, start_order, end_order, stored_at, object_id`,
  log_run: `select source_id, system_identifier, timeline, start_order, start_text, end_order, end_text, complete_to_ms,
    gap_start_order from log_run order by source_id, timeline, start_order`,
  log_gap: `select source_id, record_id, timeline, start_order, end_order, from_ms, to_ms, reason, stored_at from log_gap
    order by source_id, timeline, start_order`,
  log_fork: 'select * from log_fork order by source_id, timeline',
  snapshot: 'select id, timeline, start_order, end_text, suspect, has_log, server_version from snapshot order by id',
};

describe('logs rebuilt from packs', () => {
  const host = newHost();
  const other = newHost(host.caller.domainId);
  let lost: Catalog;
  let fresh: Catalog;
  let disk: MemoryDisk;

  beforeEach(async () => {
    [lost, fresh] = await Promise.all([openTestCatalog(), openTestCatalog()]);
    disk = new MemoryDisk();
  });
  afterEach(() => Promise.all([lost.close(), fresh.close()]));

  const piece = (start: number, end: number, change = {}, text?: string): TestPiece =>
    pieceOf(host, rangeOf(start, end, { completeToMs: end, marks: [`name=p${end}`], ...change }), text);

  const fill = async (): Promise<void> => {
    const limits = { packTargetBytes: 2000 };
    const vault = await openTestVault({
      catalog: lost,
      storage: disk.mount(new Faults()),
      hosts: [host, other],
      limits,
    });
    await storeLog(vault, host, piece(0x100, 0x110), piece(0x110, 0x120), piece(0x120, 0x130), piece(0x130, 0x130));
    await storeLog(
      vault,
      host,
      piece(0x100, 0x120, { merged: true }, 'merged'),
      piece(0x130, 0x130, { completeToMs: 0x999 }),
    );
    await commitBase(vault, host, pointOf(0x108, 0x118, { suspect: true }));
    await storeLog(vault, host, gapOf(0x130, 0x130), gapOf(0x130, 0x150, { toMs: 7 }), piece(0x150, 0x160));
    const ancestors = [{ parent: timeline1, position: lsn(0x158) }];
    const stream = timeline2;
    const history = pieceOf(host, rangeOf(0, 0, { stream, file: '00000002.history', ancestors }), 'a history');
    const again = pieceOf(host, rangeOf(0, 0, { stream, file: '00000002.history', ancestors }), 'written anew');
    await storeLog(vault, host, history, again, piece(0x150, 0x170, { stream }));
    await storeLog(vault, other, pieceOf(other, rangeOf(0x100, 0x110)), gapOf(0x110, 0x110));
    await vault.stop();
  };
  const rows = async (catalog: Catalog, table: string): Promise<unknown[]> =>
    (await catalog.pool.query(TABLES[table]!)).rows;

  it('LR1 the rebuilt tables equal the lost ones', async () => {
    await fill();
    const report = await rebuildCatalog({ catalog: fresh, storage: disk.mount(new Faults()), systemKeys });
    expect(report.warnings).to.deep.equal([]);
    for (const table of Object.keys(TABLES)) {
      expect(await rows(fresh, table), table).to.deep.equal(await rows(lost, table));
    }
    const order = async (catalog: Catalog): Promise<number[]> =>
      (await loadRuns(catalog.pool, host.sourceId)).map(({ stream }) => stream.timeline);
    expect((await order(fresh))[0]).to.equal((await order(lost))[0]);

    // And it goes on where it ended.
    const vault = await openTestVault({ catalog: fresh, storage: disk.mount(new Faults()), hosts: [host] });
    await storeLog(vault, host, piece(0x170, 0x180, { stream: timeline2 }));
    await vault.stop();
  });

  it('LR2 whichever pack is lost, what is left are runs of pieces that are there, with gaps between them', async () => {
    await fill();
    const packs = disk.names().filter((name) => name.endsWith('.pack'));
    expect(packs.length).to.be.greaterThan(4);
    for (const name of packs) {
      await fresh.pool.query(
        'truncate pack, object, snapshot, log_segment, log_run, log_gap, log_fork, vault_session, vault_writer',
      );
      await fresh.pool.query('update vault_collection set target_id = null');
      const rest = disk.afterKill();
      rest.remove(name);
      const report = await rebuildCatalog({ catalog: fresh, storage: rest.mount(new Faults()), systemKeys });
      expect(report.packs).to.equal(packs.length - 1);
      const { rows: pieces } = await fresh.pool.query<{
        start_order: string;
        end_order: string;
        timeline: number;
        there: boolean;
      }>(
        `select start_order, end_order, timeline, exists (select from object o where o.id = object_id) as there
         from log_segment where source_id = $1 and superseded_at is null and file = '' order by timeline, start_order, end_order`,
        [host.sourceId],
      );
      expect(pieces.every(({ there }) => there)).to.equal(true);
      const { rows: gaps } = await fresh.pool.query<{ start_order: string; end_order: string; timeline: number }>(
        'select start_order, end_order, timeline from log_gap where source_id = $1',
        [host.sourceId],
      );
      for (const run of await loadRuns(fresh.pool, host.sourceId)) {
        let at = run.start.order;
        const own = pieces.filter(
          (one) =>
            one.timeline === run.stream.timeline &&
            BigInt(one.start_order) >= at &&
            BigInt(one.end_order) <= run.end.order,
        );
        for (const one of own) {
          expect(BigInt(one.start_order), name).to.equal(at);
          at = BigInt(one.end_order);
        }
        expect(at, name).to.equal(run.end.order);
        const isFirst = pieces.every(
          (one) => one.timeline !== run.stream.timeline || BigInt(one.start_order) >= run.start.order,
        );
        const behindGap = gaps.some(
          (one) => one.timeline === run.stream.timeline && BigInt(one.end_order) === run.start.order,
        );
        expect(isFirst || behindGap, `${name}: the run from ${run.start.text}`).to.equal(true);
      }
    }
  }).timeout(60_000);

  it('reads what it rebuilt', async () => {
    await fill();
    await rebuildCatalog({ catalog: fresh, storage: disk.mount(new Faults()), systemKeys });
    const vault = await openTestVault({ catalog: fresh, storage: disk.mount(new Faults()), hosts: [host] });
    const bounds = [{ stream: timeline1, from: 0n, to: 0x130n }];
    const reading = vault.openLogRead(host.caller, vault.grantLog(host.caller, host.sourceId, bounds));
    const page = await reading.list({ stream: timeline1, start: 0n, end: undefined, withoutFiles: false });
    expect(page.segments.map(({ range }) => range.end.text)).to.deep.equal(['0/120', '0/130']);
    for await (const answer of reading.fetch(page.segments.map(({ id }) => id)))
      expect(answer.kind).to.equal('segment');
    await vault.stop();
  });
});
