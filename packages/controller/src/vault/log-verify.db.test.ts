// Damage in stored logs: found by verify, named with its range and times; and no restore is promised behind it.

import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { loadStoredLog } from '../fleet/log-summary.ts';
import { choosePoint } from '../fleet/recovery-point.ts';
import { Faults } from '../testing/faults.ts';
import { commitBase, pieceOf, pointOf, rangeOf, storeLog, type TestPiece } from '../testing/log-fixture.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { newHost, openTestVault } from '../testing/vault-fixture.ts';
import type { Vault } from './contract.ts';
import { packFileName } from './pack-format.ts';

describe('damage in a stored log', () => {
  const host = newHost();
  let catalog: Catalog;
  let disk: MemoryDisk;
  let vault: Vault;

  /** A commit at every position, at ten milliseconds each. */
  const piece = (start: number, end: number): TestPiece => {
    const times = { firstCommitAtMs: start * 10, lastCommitAtMs: (end - 1) * 10, completeToMs: end * 10 - 1 };
    return pieceOf(host, rangeOf(start, end, times));
  };
  const pieces = [piece(100, 200), piece(200, 300), piece(300, 400), piece(400, 500)];

  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host] });
    await storeLog(vault, host, ...pieces);
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  const flip = async ({ id }: TestPiece): Promise<void> => {
    const { rows } = await catalog.pool.query<{ id: string; pack_offset: number }>(
      'select p.id, o.pack_offset from object o join pack p on p.sequence = o.pack_sequence where o.id = $1',
      [id],
    );
    const name = packFileName({ id: rows[0]!.id, domainId: host.caller.domainId });
    const bytes = Buffer.from(disk.file(name));
    bytes[rows[0]!.pack_offset + 60]! ^= 1;
    disk.replace(name, bytes);
  };
  const base = (at: number): Promise<{ snapshotId: Buffer }> =>
    commitBase(vault, host, pointOf(at, at + 5, { startAtMs: at * 10, endAtMs: (at + 5) * 10 }));
  const choose = async (atMs: number) => {
    const log = await loadStoredLog(catalog.pool, host.sourceId, undefined, { kind: 'time', atMs });
    return choosePoint(log.bases, log, { kind: 'time', atMs });
  };

  it('8 is found and named by a verify of its source, and healed when the bytes are back', async () => {
    const { snapshotId } = await base(110);
    const scope = { domainId: host.caller.domainId, snapshotIds: [snapshotId], logSources: [host.sourceId] };
    expect((await vault.verify(scope)).logPieces).to.deep.equal([]);
    await flip(pieces[2]!);
    const report = await vault.verify(scope);
    expect(report.logPieces).to.deep.equal([{ sourceId: host.sourceId, range: pieces[2]!.range }]);
    expect(report.snapshots).to.deep.equal([]);
    expect((await vault.verify({ ...scope, logSources: [] })).logPieces).to.deep.equal([]);
    expect((await vault.verify({})).logPieces).to.have.length(1);
    await flip(pieces[2]!);
    expect((await vault.verify(scope)).logPieces).to.deep.equal([]);
  });

  it('8 a restore stops before it: points behind it are refused, or reached from a later base', async () => {
    await base(110);
    await flip(pieces[2]!);
    await vault.verify({});
    expect((await choose(2500)).kind).to.equal('chosen');
    const refused = await choose(3500);
    expect(refused.kind === 'refused' && refused.message).to.equal(
      '1970-01-01T00:00:03.500Z is after what is stored, which is complete up to 1970-01-01T00:00:02.999Z; there a gap begins: a stored piece of the log is damaged',
    );
    await base(410);
    const late = await choose(4500);
    expect(late.kind === 'chosen' && late.base.sequence).to.equal(2);
    const within = await choose(3500);
    expect(within.kind === 'refused' && within.message).to.equal(
      '1970-01-01T00:00:03.500Z is in a gap, from 1970-01-01T00:00:02.999Z to 1970-01-01T00:00:04.150Z: a stored piece of the log is damaged',
    );
  });
});
