// Threat 8: every byte of a pack flipped, every length cut, files emptied, deleted, swapped. Found by verify, named, and healed
// by the next backup; a read hands on nothing that is wrong.

import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  backUp,
  beginOn,
  codeOf,
  newHost,
  openTestVault,
  plainOf,
  readSnapshot,
  record,
  snapshotOf,
} from '../testing/vault-fixture.ts';
import type { Vault, VerifyReport } from './contract.ts';

describe('damage', () => {
  const host = newHost();
  const objects = snapshotOf(host, ['alpha', 'beta'], 'first');
  const snapshotId = objects.at(-1)!.id;
  let catalog: Catalog;
  let disk: MemoryDisk;
  let vault: Vault;
  let packs: string[];

  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host] });
    await backUp(vault, host, objects);
    // Sealed, so that there are footers.
    await vault.stop();
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host] });
    packs = disk.names().filter((name) => name.endsWith('.pack'));
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  const named = (report: VerifyReport): string[] => report.damages.flatMap((damage) => damage.objectIds).toSorted();

  it('PS1 PS2 threat 8 every byte of every pack, flipped, is found by verify; what it hits is named, and restored bytes make it well', async () => {
    expect(packs).to.have.length(2);
    for (const name of packs) {
      const whole = Buffer.from(disk.file(name));
      for (let at = 0; at < whole.length; at++) {
        const bytes = Buffer.from(whole);
        bytes[at] = bytes[at]! ^ (1 << (at % 8));
        disk.replace(name, bytes);
        const report = await vault.verify({});
        expect(report.damages.length, `${name} byte ${at}`).to.be.greaterThan(0);
        const { rows } = await catalog.pool.query<{ id: Buffer }>(
          `select o.id from object o join pack p on p.sequence = o.pack_sequence
           where p.id = $1 and $2 >= o.pack_offset - 64 and $2 < o.pack_offset + o.length_bytes`,
          [report.damages[0]!.packId, at],
        );
        expect(named(report), `${name} byte ${at}`).to.deep.equal(rows.map((row) => row.id.toString('hex')));
        const controllerOnly = rows.length === 0 || !objects.some((object) => object.id.equals(rows[0]!.id));
        expect(report.snapshots.map((snapshot) => snapshot.snapshotId)).to.deep.equal(
          controllerOnly ? [] : [snapshotId.toString('hex')],
        );
      }
      disk.replace(name, whole);
      const report = await vault.verify({});
      expect(report.damages).to.deep.equal([]);
      expect(report.snapshots).to.deep.equal([]);
    }
    const { rows } = await catalog.pool.query('select 1 from object where absent_since is not null');
    expect(rows).to.deep.equal([]);
  });

  it('threat 8 a pack cut at any length, emptied or deleted, is found by verify with every object it lost', async () => {
    for (const name of packs) {
      const whole = Buffer.from(disk.file(name));
      for (let length = 0; length < whole.length; length += 5) {
        disk.replace(name, Buffer.from(whole.subarray(0, length)));
        const report = await vault.verify({});
        expect(report.damages.length, `${name} at ${length}`).to.be.greaterThan(0);
        const { rows } = await catalog.pool.query<{ id: Buffer }>(
          `select o.id from object o join pack p on p.sequence = o.pack_sequence
           where p.id = $1 and o.pack_offset + o.length_bytes > $2 order by o.id`,
          [report.damages[0]!.packId, length],
        );
        expect(named(report)).to.deep.equal(rows.map((row) => row.id.toString('hex')));
      }
      disk.replace(name, whole);
    }
    const mounted = disk.mount(new Faults());
    await mounted.remove(packs[0]!);
    const report = await vault.verify({});
    expect(report.damages.map((damage) => damage.what)).to.include('the file is missing');
  });

  it('threat 8 two packs swapped for each other are found, whole as each is', async () => {
    const [one, two] = packs.map((name) => Buffer.from(disk.file(name)));
    disk.replace(packs[0]!, two!);
    disk.replace(packs[1]!, one!);
    const report = await vault.verify({});
    expect(new Set(named(report)).size).to.equal(objects.length + 1);
  });

  it('I1 a read hands on no wrong byte: the object is not served, its snapshot is flagged, and the rest is read', async () => {
    for (const name of packs) {
      const whole = Buffer.from(disk.file(name));
      for (let at = 0; at < whole.length; at += 11) {
        const bytes = Buffer.from(whole);
        bytes[at] = bytes[at]! ^ 0x40;
        disk.replace(name, bytes);
        const expected = plainOf(host, objects);
        for (const [id, text] of await readSnapshot(vault, host, snapshotId)) {
          expect(text === expected.get(id) || text === '! damaged', `${name} byte ${at}: ${text}`).to.equal(true);
        }
      }
      disk.replace(name, whole);
    }
    const { rows } = await catalog.pool.query('select damaged_at is not null as damaged from snapshot');
    expect(rows).to.deep.equal([{ damaged: true }]);
  });

  it('the next backup heals: what is damaged counts as absent to probes, is stored again, and old snapshots are whole again', async () => {
    const content = packs.find((name) => disk.file(name).readUInt16LE(10) === 2)!;
    disk.file(content).fill(0, 180, 200);
    await readSnapshot(vault, host, snapshotId);

    const stream = await beginOn(vault, host, { baseSnapshotId: snapshotId });
    expect(stream.began.baseDamaged).to.equal(true);
    await stream.probe(1n, Buffer.concat(objects.slice(0, 2).map((object) => object.id)));
    for await (const answer of stream.answers) {
      if (answer.kind === 'probed')
        expect([...answer.present])
          .to.include(0)
          .and.to.include(1);
      break;
    }
    stream.close();
    await backUp(vault, host, [...objects.slice(0, -1), record(host, objects.at(-2)!, 'second')]);

    expect(await readSnapshot(vault, host, snapshotId)).to.deep.equal(plainOf(host, objects));
    const report = await vault.verify({});
    expect(report.snapshots).to.deep.equal([]);
    // The place is still damaged, and said so, but nothing that lives stands there.
    expect(report.damages.map((damage) => damage.objectIds)).to.deep.equal([[]]);
    const { rows } = await catalog.pool.query('select 1 from snapshot where damaged_at is not null');
    expect(rows).to.deep.equal([]);
  });

  it('verify names the files of a managed domain, and refuses an unknown snapshot', async () => {
    const content = packs.find((name) => disk.file(name).readUInt16LE(10) === 2)!;
    disk.file(content).fill(0, 180, 200);
    const report = await vault.verify(
      { domainId: host.caller.domainId, snapshotIds: [snapshotId, Buffer.alloc(32)] },
      {
        describeFiles: ({ objectIds }) =>
          Promise.resolve({ named: objectIds.map((id) => ({ path: id, others: 0 })), more: false }),
      },
    );
    expect(report.snapshots).to.have.length(1);
    const { files, objectIds } = report.snapshots[0]!;
    expect(files?.named.map(({ path }) => path)).to.deep.equal(objectIds);
    const unknown = vault.verify({ domainId: host.caller.domainId, snapshotIds: [Buffer.alloc(32)] });
    expect(await codeOf(unknown)).to.equal('NOT_FOUND');
  });

  it('what is stored while its pack is read is neither lost nor damage', async () => {
    await vault.stop();
    const storage = disk.mount(new Faults());
    vault = await openTestVault({ catalog, storage, hosts: [host] });
    await backUp(vault, host, snapshotOf(host, ['gamma'], 'second'));
    const read = storage.read.bind(storage);
    let reads = 0;
    storage.read = async (name, offset, length) => {
      const bytes = await read(name, offset, length);
      if (offset === 0 && reads++ < packs.length + 2)
        await backUp(vault, host, snapshotOf(host, [`new ${reads}`], name));
      return bytes;
    };
    const { damages, snapshots } = await vault.verify({});
    expect(reads).to.be.greaterThan(packs.length);
    expect({ damages, snapshots }).to.deep.equal({ damages: [], snapshots: [] });
    const { rows } = await catalog.pool.query('select id from object where absent_since is not null');
    expect(rows).to.deep.equal([]);
  });

  it('threat 6 a target that cannot read for a while costs the answer, not the objects', async () => {
    await vault.stop();
    const faults = new Faults({ kind: 'fail', at: 8, lasting: true, errno: 'EIO' });
    vault = await openTestVault({ catalog, storage: disk.mount(faults), hosts: [host] });
    await readSnapshot(vault, host, snapshotId);
    await vault.stop();
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host] });
    expect((await vault.verify({})).snapshots).to.deep.equal([]);
    expect(await readSnapshot(vault, host, snapshotId)).to.deep.equal(plainOf(host, objects));
  });
});
