// Every call of a backup fails in turn, and the machine dies at every call (threats 1–4, 6, 9). Then the vault starts again on
// what is left, and what was promised must be there.

import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { faultyCatalog } from '../testing/faulty-catalog.ts';
import { Faults, type FaultPlan } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  backUp,
  newHost,
  openTestVault,
  plainOf,
  readSnapshot,
  snapshotOf,
  type TestObject,
} from '../testing/vault-fixture.ts';
import type { Vault } from './contract.ts';

const TABLES = 'pack, object, snapshot, vault_session, vault_writer';
/** Small enough that the run below fills several packs of each class. */
const limits = { packTargetBytes: 1500 };

describe('faults of the pack writer', () => {
  const host = newHost();
  let catalog: Catalog;
  const first = snapshotOf(host, ['a', 'b', 'c', 'd'], 'first');
  const second = snapshotOf(host, ['c', 'd', 'e'.repeat(300), 'f'.repeat(800), 'g'.repeat(900)], 'second');

  before(async () => {
    catalog = await openTestCatalog();
  });
  after(() => catalog.close());

  const open = (disk: MemoryDisk, faults: Faults): Promise<Vault> => {
    const storage = disk.mount(faults);
    return openTestVault({ catalog: faultyCatalog(catalog, faults), storage, hosts: [host], limits });
  };

  /** A catalog and a disk with the first snapshot. */
  const prepare = async (): Promise<MemoryDisk> => {
    await catalog.pool.query(`truncate ${TABLES}`);
    await catalog.pool.query('update vault_collection set target_id = null');
    const disk = new MemoryDisk();
    const vault = await open(disk, new Faults());
    await backUp(vault, host, first);
    await vault.stop();
    return disk;
  };

  /** A second backup and a stop, whatever fails; whether its commit was answered. */
  const tryBackup = async (disk: MemoryDisk, faults: Faults): Promise<boolean> => {
    let vault: Vault;
    try {
      vault = await open(disk, faults);
    } catch {
      return false;
    }
    const answered = await backUp(vault, host, second).then(
      () => true,
      () => false,
    );
    await vault.stop().catch(() => undefined);
    return answered;
  };

  /** Starts on what is left: promised snapshots are whole, the others absent or whole, and the next backup goes through. */
  const assertSound = async (disk: MemoryDisk, promised: readonly (readonly TestObject[])[]): Promise<void> => {
    const vault = await open(disk, new Faults());
    const { rows } = await catalog.pool.query<{ id: Buffer }>('select id from snapshot order by sequence');
    const listed = rows.map((row) => row.id.toString('hex'));
    expect(listed).to.include.members(promised.map((objects) => objects.at(-1)!.id.toString('hex')));
    for (const objects of [first, second]) {
      const { id } = objects.at(-1)!;
      if (!listed.includes(id.toString('hex'))) continue;
      expect(await readSnapshot(vault, host, id)).to.deep.equal(plainOf(host, objects));
    }
    if (listed.length === 1) await backUp(vault, host, second);
    expect(await readSnapshot(vault, host, second.at(-1)!.id)).to.deep.equal(plainOf(host, second));
    const report = await vault.verify({});
    expect(report.damages, JSON.stringify(report.damages)).to.deep.equal([]);
    expect(report.snapshots).to.deep.equal([]);
    await vault.stop();
    const { rows: packs } = await catalog.pool.query(`select 1 from pack where state <> 'sealed'`);
    expect(packs, 'packs left unsealed').to.deep.equal([]);
  };

  /** Runs `plan` at call 1, 2, 3 … until a run is unhurt; returns how many calls there were. */
  const loop = async (
    plan: (at: number) => FaultPlan,
    after: (disk: MemoryDisk, at: number) => MemoryDisk,
  ): Promise<number> => {
    for (let at = 1; ; at++) {
      const disk = await prepare();
      const faults = new Faults(plan(at));
      const answered = await tryBackup(disk, faults);
      try {
        await assertSound(after(disk, at), answered ? [first, second] : [first]);
      } catch (error) {
        throw new Error(`after call ${at}: ${faults.calls.slice(Math.max(0, at - 3), at).join(', ')}`, {
          cause: error,
        });
      }
      if (!faults.hit) return at - 1;
    }
  };

  it('threats 2 and 6 each call fails once and power is lost later: what was promised is there, and nobody has to mend anything', async () => {
    const calls = await loop(
      (at) => ({ kind: 'fail', at, lasting: false, errno: at % 2 === 0 ? 'EIO' : 'ENOSPC' }),
      powerLost,
    );
    expect(calls).to.be.greaterThan(30);
  });

  it('threat 2 each call fails from then on', async () => {
    await loop((at) => ({ kind: 'fail', at, lasting: true, errno: at % 2 === 0 ? 'ENOSPC' : 'EIO' }), same);
  });

  it('threat 1 the process is killed at each call', async () => {
    await loop(
      (at) => ({ kind: 'die', at }),
      (disk) => disk.afterKill(),
    );
  });

  it('threats 3 and 4 power is lost at each call: unsynced bytes and names are gone, or torn', async () => {
    await loop(
      (at) => ({ kind: 'die', at }),
      (disk, at) => disk.afterPowerCut(at % 2 === 0 ? 0 : 0.5),
    );
  });

  it('threat 9 each call of a recovery fails, or the machine dies again there', async () => {
    // The catalog has acknowledged records, the pack has a torn tail, and no footer was written.
    const wreck = async (): Promise<MemoryDisk> => {
      const disk = await prepare();
      const trial = new Faults();
      await tryBackup(disk, trial);
      const at = trial.calls.lastIndexOf('commit') + 2;
      const fresh = await prepare();
      await tryBackup(fresh, new Faults({ kind: 'die', at }));
      return fresh.afterPowerCut(0.5);
    };
    for (const dies of [false, true]) {
      for (let at = 1; ; at++) {
        const disk = await wreck();
        const faults = new Faults(dies ? { kind: 'die', at } : { kind: 'fail', at, lasting: false, errno: 'EIO' });
        const vault = await open(disk, faults).catch(() => undefined);
        await vault?.stop().catch(() => undefined);
        await assertSound(dies ? disk.afterPowerCut(0) : disk, [first]);
        if (!faults.hit) break;
      }
    }
  });
});

function powerLost(disk: MemoryDisk): MemoryDisk {
  return disk.afterPowerCut(0);
}

function same(disk: MemoryDisk): MemoryDisk {
  return disk;
}
