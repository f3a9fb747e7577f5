// Storing logs on a real catalog: what is taken, what is refused, what is left when something fails.

import { expect } from 'chai';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { LogGap } from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';

import type { Catalog } from '../catalog/catalog.ts';
import { faultyCatalog } from '../testing/faulty-catalog.ts';
import { Faults } from '../testing/faults.ts';
import {
  commitBase,
  gapOf,
  lsn,
  openLog,
  pieceOf,
  pointOf,
  rangeOf,
  sendPiece,
  storeLog,
  timeline1,
  timeline2,
  type TestPiece,
} from '../testing/log-fixture.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { codeOf, newHost, openTestVault } from '../testing/vault-fixture.ts';
import type { Vault } from './contract.ts';

describe('a stored log', () => {
  const host = newHost();
  const other = newHost(host.caller.domainId);
  let catalog: Catalog;
  let disk: MemoryDisk;
  let vault: Vault;

  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    vault = await openTestVault({
      catalog,
      storage: disk.mount(new Faults()),
      hosts: [host, other],
    });
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  const piece = (start: number, end: number, change = {}) => pieceOf(host, rangeOf(start, end, change));

  const live = async (): Promise<string[]> => {
    const { rows } = await catalog.pool.query<{ start_text: string; end_text: string }>(
      'select start_text, end_text from log_segment where superseded_at is null order by timeline, start_order, end_order',
    );
    return rows.map((row) => `${row.start_text}-${row.end_text}`);
  };

  /** How storing an item ends; 'stored' when it is. */
  const tried = async (item: TestPiece | LogGap): Promise<string> => {
    const log = await openLog(vault, host);
    const outcome = await codeOf(log.send(item).then(() => log.drained()));
    log.stream.close();
    return outcome === 'nothing was thrown' ? 'stored' : outcome;
  };

  const ends = async (): Promise<string[]> => {
    const log = await openLog(vault, host);
    log.stream.close();
    return log.stream.began.ends.map(({ stream, start, end }) => `${stream.timeline}: ${start.text}-${end.text}`);
  };

  it('L1 is acknowledged when its pieces, their records and their rows are there, and goes on where it ended', async () => {
    await storeLog(vault, host, piece(0x100, 0x180, { completeToMs: 5 }), piece(0x180, 0x1c0), piece(0x1c0, 0x1c0));
    expect(await live()).to.deep.equal(['0/100-0/180', '0/180-0/1C0', '0/1C0-0/1C0']);
    const { rows } = await catalog.pool.query(
      `select 1 from log_segment s join object o on o.domain_id = s.domain_id and o.id = s.object_id and o.kind = 4
         join object r on r.domain_id = s.domain_id and r.id = s.record_id and r.kind = 6`,
    );
    expect(rows).to.have.length(3);

    const log = await openLog(vault, host);
    expect(log.stream.began.ends.map(({ completeToMs }) => completeToMs)).to.deep.equal([5]);
    await log.send(piece(0x1c0, 0x200));
    await log.drained();
    log.stream.close();
    expect(await ends()).to.deep.equal(['1: 0/100-0/200']);
  });

  it('takes an empty piece at the same place again when it tells a later time, in the place of the one before', async () => {
    await storeLog(vault, host, piece(0x100, 0x180, { completeToMs: 5 }));
    for (const completeToMs of [7, 9, 9]) await storeLog(vault, host, piece(0x180, 0x180, { completeToMs }));
    expect(await live()).to.deep.equal(['0/100-0/180', '0/180-0/180']);
    const log = await openLog(vault, host);
    log.stream.close();
    expect(log.stream.began.ends.map(({ completeToMs }) => completeToMs)).to.deep.equal([9]);
  });

  it('refuses a piece that leaves something out, and one that is stored, and says from where to go on', async () => {
    await storeLog(vault, host, piece(0x100, 0x180));
    const log = await openLog(vault, host);
    await log.send(piece(0x181, 0x190));
    const error = await log.ended;
    expect((error as HoldfastError).code).to.equal('FAILED_PRECONDITION');
    expect((error as HoldfastError).message).to.equal('a piece of the log from 0/181 leaves out what follows 0/180');
    expect(await tried(piece(0x170, 0x190))).to.equal('FAILED_PRECONDITION');
    expect(await tried(pieceOf(host, rangeOf(0x100, 0x180), 'other bytes'))).to.equal('FAILED_PRECONDITION');
    expect(await live()).to.deep.equal(['0/100-0/180']);
  });

  it('takes the very same piece again without a word: its acknowledgement was lost', async () => {
    await storeLog(vault, host, piece(0x100, 0x180), piece(0x180, 0x190));
    expect(await tried(piece(0x100, 0x180))).to.equal('stored');
    expect(await live()).to.deep.equal(['0/100-0/180', '0/180-0/190']);
  });

  it('keeps what came before a piece that is refused', async () => {
    const log = await openLog(vault, host);
    await log.send(piece(0x100, 0x180), piece(0x180, 0x190));
    await log.drained();
    await log.send(piece(0x200, 0x210));
    expect(await codeOf(log.drained())).to.equal('FAILED_PRECONDITION');
    expect(await live()).to.deep.equal(['0/100-0/180', '0/180-0/190']);
  });

  it('begins a new run behind a recorded gap, and only there', async () => {
    await storeLog(vault, host, piece(0x100, 0x180), gapOf(0x180, 0x180), gapOf(0x180, 0x300, { toMs: 9 }));
    expect(await ends()).to.deep.equal(['1: 0/300-0/300']);
    expect(await tried(piece(0x180, 0x300))).to.equal('FAILED_PRECONDITION');
    await storeLog(vault, host, piece(0x300, 0x380));
    expect(await ends()).to.deep.equal(['1: 0/300-0/380']);
    expect(await tried(gapOf(0x180, 0x380))).to.equal('FAILED_PRECONDITION');
    const { rows } = await catalog.pool.query('select end_text, to_ms from log_gap');
    expect(rows).to.deep.equal([{ end_text: '0/300', to_ms: 9 }]);
    const { rows: runs } = await catalog.pool.query('select start_text, end_text from log_run order by start_order');
    expect(runs).to.deep.equal([
      { start_text: '0/100', end_text: '0/180' },
      { start_text: '0/300', end_text: '0/380' },
    ]);
  });

  it('keeps the streams of a server apart, the newest first, and where they fork', async () => {
    const ancestors = [{ parent: timeline1, position: lsn(0x170) }];
    const history = pieceOf(host, rangeOf(0, 0, { stream: timeline2, file: '00000002.history', ancestors }));
    await storeLog(vault, host, piece(0x100, 0x180), history, piece(0x160, 0x1a0, { stream: timeline2 }));
    expect(await ends()).to.deep.equal(['2: 0/160-0/1A0', '1: 0/100-0/180']);
    const { rows } = await catalog.pool.query('select timeline, parent_timeline, position_text from log_fork');
    expect(rows).to.deep.equal([{ timeline: 2, parent_timeline: 1, position_text: '0/170' }]);
  });

  it('lets a merged piece take the place of exactly what it covers, at once', async () => {
    await storeLog(vault, host, piece(0x100, 0x140), piece(0x140, 0x180), piece(0x180, 0x200));
    expect(await tried(pieceOf(host, rangeOf(0x100, 0x190, { merged: true }), 'more'))).to.equal('FAILED_PRECONDITION');
    expect(await tried(pieceOf(host, rangeOf(0x100, 0x140, { merged: true }), 'one'))).to.equal('FAILED_PRECONDITION');
    expect(await tried(pieceOf(host, rangeOf(0x200, 0x240, { merged: true }), 'behind'))).to.equal(
      'FAILED_PRECONDITION',
    );
    expect(await live()).to.have.length(3);
    await storeLog(vault, host, pieceOf(host, rangeOf(0x100, 0x180, { merged: true }), 'both'));
    expect(await live()).to.deep.equal(['0/100-0/180', '0/180-0/200']);
    expect(await ends()).to.deep.equal(['1: 0/100-0/200']);
    const { rows } = await catalog.pool.query('select 1 from log_segment where superseded_at is not null');
    expect(rows).to.have.length(2);
  });

  it('lets no merged piece hide a gap, be it one of no length', async () => {
    await storeLog(vault, host, piece(0x100, 0x140), gapOf(0x140, 0x140), piece(0x140, 0x180));
    expect(await tried(pieceOf(host, rangeOf(0x100, 0x180, { merged: true }), 'both'))).to.equal('FAILED_PRECONDITION');
  });

  it('L3 a newer stream ends the older one, which stores nothing more', async () => {
    const older = await openLog(vault, host);
    await older.send(piece(0x100, 0x180));
    await older.drained();
    const newer = await openLog(vault, host);
    expect(((await older.ended) as HoldfastError).code).to.equal('SESSION_ENDED');
    expect(await codeOf(older.send(piece(0x180, 0x190)))).to.equal('SESSION_ENDED');
    await newer.send(piece(0x180, 0x1a0));
    await newer.drained();
    newer.stream.close();
    expect(await live()).to.deep.equal(['0/100-0/180', '0/180-0/1A0']);
  });

  it('L3 21 also when the newer one is at another controller', async () => {
    const elsewhere = await openTestVault({
      catalog,
      storage: disk.mount(new Faults()),
      hosts: [host],
      soleWriter: false,
    });
    const older = await openLog(vault, host);
    const newer = await openLog(elsewhere, host);
    await older.send(piece(0x100, 0x180));
    expect(await codeOf(older.drained())).to.equal('SESSION_ENDED');
    newer.stream.close();
    await elsewhere.stop();
    expect(await live()).to.deep.equal([]);
  });

  it('L1, L2 1 2 4 whichever call fails, what was acknowledged is there, and what is there is whole', async () => {
    let hits = 0;
    for (let at = 1; at < 200; at++) {
      for (const kind of ['fail', 'die'] as const) {
        await catalog.pool.query('truncate pack, object, log_segment, log_run, log_gap, log_writer, vault_writer');
        await catalog.pool.query('update vault_collection set target_id = null');
        const run = new Faults(kind === 'die' ? { kind, at } : { kind, at, lasting: false, errno: 'EIO' });
        const target = new MemoryDisk();
        const stored = await tryToStore(target, run);
        if (run.hit) hits++;
        const again = await openTestVault({ catalog, storage: target.mount(new Faults()), hosts: [host] });
        const { rows } = await catalog.pool.query<{ object_id: Buffer; record_id: Buffer }>(
          'select object_id, record_id from log_segment order by sequence',
        );
        expect(rows.length, `call ${at}, ${kind}`).to.be.at.least(stored);
        for (const row of rows) {
          await again.readObject(host.caller.domainId, row.object_id);
          await again.readObject(host.caller.domainId, row.record_id);
        }
        const next = 0x100 + 0x10 * rows.length;
        await storeLog(again, host, piece(next, next + 0x10));
        await again.stop();
      }
      if (at > 20 && hits < at) break;
    }
    expect(hits).to.be.greaterThan(40);
  }).timeout(120_000);

  /** Stores three pieces one by one on a target and a catalog that fail; how many were acknowledged. */
  const tryToStore = async (target: MemoryDisk, run: Faults): Promise<number> => {
    let stored = 0;
    let failing: Vault | undefined;
    try {
      failing = await openTestVault({
        catalog: faultyCatalog(catalog, run),
        storage: target.mount(run),
        hosts: [host],
      });
      const log = await openLog(failing, host);
      for (const start of [0x100, 0x110, 0x120]) {
        await log.send(piece(start, start + 0x10));
        await log.drained();
        stored = log.stored;
      }
    } catch {
      // What matters is what is left.
    }
    await failing?.stop().catch(() => undefined);
    return stored;
  };

  it('is stored by its own host alone', async () => {
    expect(await codeOf(vault.beginLog(other.caller, host.sourceId))).to.equal('NOT_FOUND');
    expect(
      await codeOf(vault.beginLog({ ...host.caller, domainId: newHost().caller.domainId }, host.sourceId)),
    ).to.equal('NOT_FOUND');
  });

  it('42 takes only what is a log segment, whole, under its own id, without references', async () => {
    const good = piece(0x100, 0x180);
    const flipped = Buffer.from(good.envelope);
    flipped[60]! ^= 1;
    expect(await tried({ ...good, envelope: flipped })).to.equal('PROTOCOL_VIOLATION');
    const chunk = seal(host.keys, ObjectKind.chunk, [], Buffer.from('a chunk'));
    expect(await tried({ ...good, ...chunk })).to.equal('NOT_ALLOWED');
    const referring = seal(host.keys, ObjectKind.logSegment, [good.id], Buffer.from('refers'));
    expect(await tried({ ...good, ...referring })).to.equal('PROTOCOL_VIOLATION');

    const log = await openLog(vault, host);
    expect(await codeOf(log.stream.segment(good.id, good.range))).to.equal('PROTOCOL_VIOLATION');
    const twice = await openLog(vault, host);
    await sendPiece(twice.stream, good);
    expect(await codeOf(twice.stream.segment(good.id, good.range))).to.equal('PROTOCOL_VIOLATION');
  });

  it('41 a length over the limit is refused before anything is allocated', async () => {
    const log = await openLog(vault, host);
    const part = {
      id: Buffer.alloc(32),
      totalLength: 2 ** 31,
      offset: 0,
      data: Buffer.alloc(10),
      referenceProofs: Buffer.alloc(0),
    };
    expect(await codeOf(log.stream.part(part))).to.equal('LIMIT_EXCEEDED');
  });

  it('says that a base is needed until one is there from which the log can be replayed to its end', async () => {
    const needed = async (): Promise<boolean> => {
      const log = await openLog(vault, host);
      log.stream.close();
      return log.stream.began.baseNeeded;
    };
    expect(await needed()).to.equal(true);
    await storeLog(vault, host, piece(0x100, 0x200));
    expect(await needed()).to.equal(true);
    await commitBase(vault, host, pointOf(0x120, 0x180));
    expect(await needed()).to.equal(false);
    await storeLog(vault, host, gapOf(0x200, 0x300), piece(0x300, 0x400));
    expect(await needed()).to.equal(true);
    await commitBase(vault, host, pointOf(0x310, 0x320));
    expect(await needed()).to.equal(false);

    // A promotion: the new timeline goes on from the old one, so the base still serves, if the fork is known.
    await storeLog(vault, host, pieceOf(host, rangeOf(0x3c0, 0x480, { stream: timeline2 })));
    expect(await needed()).to.equal(true);
    const ancestors = [{ parent: timeline1, position: lsn(0x3d0) }];
    await storeLog(
      vault,
      host,
      pieceOf(host, rangeOf(0, 0, { stream: timeline2, file: '00000002.history', ancestors })),
    );
    expect(await needed()).to.equal(false);
  });

  it('19 a base is committed only when the log up to its end is stored', async () => {
    const gap: LogGap = gapOf(0x180, 0x200);
    await storeLog(vault, host, piece(0x100, 0x180));
    const error = await commitBase(vault, host, pointOf(0x110, 0x1c0)).catch((thrown: unknown) => thrown);
    expect((error as HoldfastError).code).to.equal('FAILED_PRECONDITION');
    expect((error as HoldfastError).message).to.contain('log not stored up to 0/1C0');
    await storeLog(vault, host, gap, piece(0x200, 0x300));
    expect(await codeOf(commitBase(vault, host, pointOf(0x110, 0x210)))).to.equal('FAILED_PRECONDITION');
    expect(await codeOf(commitBase(vault, host, pointOf(0x210, 0x220, { stream: timeline2 })))).to.equal(
      'FAILED_PRECONDITION',
    );
    const { snapshotId } = await commitBase(vault, host, pointOf(0x210, 0x220, { suspect: true }));
    const { rows } = await catalog.pool.query('select id, end_text, suspect, server_version from snapshot');
    expect(rows).to.deep.equal([{ id: snapshotId, end_text: '0/220', suspect: true, server_version: '15.14' }]);
    // Engines without a log stand nowhere in one.
    await commitBase(vault, host, pointOf(0, 0, { hasLog: false, stream: { systemIdentifier: '', timeline: 0 } }));
  });
});
