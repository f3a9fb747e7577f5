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
  send,
  snapshotOf,
} from '../testing/vault-fixture.ts';

describe('recovery', () => {
  const host = newHost();
  const objects = snapshotOf(host, ['one', 'two', 'three'], 'first');
  const second = [...objects.slice(0, -1), record(host, objects.at(-2)!, 'second')];
  let catalog: Catalog;

  before(async () => {
    catalog = await openTestCatalog();
  });
  after(() => catalog.close());
  beforeEach(async () => {
    await catalog.pool.query('truncate pack, object, snapshot, vault_session, vault_writer');
    await catalog.pool.query('update vault_collection set target_id = null');
  });

  const open = (disk: MemoryDisk, more: { soleWriter?: boolean; events?: string[]; limits?: object } = {}) =>
    openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host], ...more });

  /** A disk as a killed process leaves it, and the end of what the catalog has acknowledged, by name. */
  const killed = async (): Promise<{ disk: MemoryDisk; acknowledged: Map<string, number> }> => {
    const disk = new MemoryDisk();
    await backUp(await open(disk), host, objects);
    const { rows } = await catalog.pool.query<{ id: string; domain_id: string; bytes: number }>(
      'select id, domain_id, acknowledged_bytes as bytes from pack',
    );
    const acknowledged = new Map(
      rows.map((row) => [`${row.domain_id}/${row.id.slice(0, 2)}/${row.id}.pack`, row.bytes]),
    );
    return { disk: disk.afterKill(), acknowledged };
  };

  it('threat 4 a torn tail of any length is cut, and nothing that was acknowledged is lost', async () => {
    const start = await killed();
    const { rows: packs } = await catalog.pool.query('select * from pack');
    const tail = Buffer.from('any bytes of a record that was not finished'.repeat(4));
    for (let length = 0; length <= tail.length; length += 13) {
      await catalog.pool.query(`update pack set state = 'open', writer_id = gen_random_uuid(), sealed_at = null`);
      const disk = start.disk.afterKill();
      for (const name of start.acknowledged.keys())
        disk.replace(name, Buffer.concat([disk.file(name), tail.subarray(0, length)]));
      const vault = await open(disk);
      expect(await readSnapshot(vault, host, objects.at(-1)!.id)).to.deep.equal(plainOf(host, objects));
      expect((await vault.verify({})).damages).to.deep.equal([]);
      await vault.stop();
    }
    expect(packs).to.have.length(2);
  });

  it('damage below the acknowledged length is reported, its objects are absent, and the next backup heals them', async () => {
    const start = await killed();
    for (const [name, bytes] of start.acknowledged) {
      for (let at = 112; at < bytes; at += 29) {
        await catalog.pool.query(
          `update pack set state = 'open', writer_id = gen_random_uuid(), sealed_at = null, damaged_at = null`,
        );
        await catalog.pool.query('update object set absent_since = null');
        await catalog.pool.query('update snapshot set damaged_at = null');
        const disk = start.disk.afterKill();
        disk.file(name)[at]! ^= 0x10;
        const events: string[] = [];
        const vault = await open(disk, { events });
        expect(events.join(), `byte ${at}`).to.include('vault.pack_damaged');
        const { rows } = await catalog.pool.query<{ id: Buffer }>(
          'select id from object where absent_since is not null',
        );
        expect(rows, `byte ${at}`).to.have.length(1);
        await vault.stop();
      }
    }
    const disk = start.disk.afterKill();
    await catalog.pool.query(`update pack set state = 'open', writer_id = gen_random_uuid()`);
    await catalog.pool.query('update object set absent_since = null');
    for (const name of start.acknowledged.keys()) disk.file(name).fill(0, 150, 200);
    const vault = await open(disk);
    await backUp(vault, host, second);
    expect(await readSnapshot(vault, host, second.at(-1)!.id)).to.deep.equal(plainOf(host, second));
    await vault.stop();
  });

  it('threat 8 a pack that is gone is reported, and its objects come again with the next backup', async () => {
    const { disk, acknowledged } = await killed();
    for (const name of acknowledged.keys()) await disk.mount(new Faults()).remove(name);
    const events: string[] = [];
    const vault = await open(disk, { events });
    expect(events.filter((event) => event.startsWith('vault.pack_damaged'))).to.have.length(2);
    await backUp(vault, host, second);
    expect(await readSnapshot(vault, host, second.at(-1)!.id)).to.deep.equal(plainOf(host, second));
    await vault.stop();
  });

  it('two controllers on one catalog write to packs of their own, and each reads what the other wrote', async () => {
    const disk = new MemoryDisk();
    const [one, two] = [await open(disk), await open(disk, { soleWriter: false })];
    await backUp(one, host, objects);
    await backUp(two, host, second);
    const { rows } = await catalog.pool.query<{ packs: number }>(
      'select count(distinct pack_sequence) as packs from object',
    );
    expect(rows[0]!.packs).to.be.greaterThan(2);
    expect(await readSnapshot(two, host, objects.at(-1)!.id)).to.deep.equal(plainOf(host, objects));
    expect(await readSnapshot(one, host, second.at(-1)!.id)).to.deep.equal(plainOf(host, second));
    await one.stop();
    await two.stop();
  });

  it('a controller whose packs were taken over cannot acknowledge into them, and goes on with new ones', async () => {
    const disk = new MemoryDisk();
    const stalled = await open(disk);
    await backUp(stalled, host, objects);
    // Its lease ran out while it was stalled, and another controller starts.
    await catalog.pool.query(`update vault_writer set expires_at = now() - interval '1 second'`);
    const successor = await open(disk, { soleWriter: false });
    const { rows } = await catalog.pool.query<{ state: string }>('select distinct state from pack');
    expect(rows).to.deep.equal([{ state: 'sealed' }]);

    const outcome = await codeOf(backUp(stalled, host, second));
    expect(outcome).to.be.oneOf(['STORAGE_FAILED', 'nothing was thrown']);
    if (outcome !== 'nothing was thrown') await backUp(successor, host, second);
    expect(await readSnapshot(successor, host, second.at(-1)!.id)).to.deep.equal(plainOf(host, second));
    await stalled.stop();
    expect((await successor.verify({})).damages).to.deep.equal([]);
    await successor.stop();
  });

  it('a writer that lives is left alone', async () => {
    const disk = new MemoryDisk();
    const living = await open(disk);
    const stream = await beginOn(living, host);
    await send(stream, objects[0]!);
    for await (const answer of stream.answers) if (answer.kind === 'stored') break;
    const newcomer = await open(disk, { soleWriter: false });
    const { rows } = await catalog.pool.query<{ state: string }>('select state from pack');
    expect(rows).to.deep.equal([{ state: 'open' }]);
    await newcomer.stop();
    await living.stop();
  });
});
