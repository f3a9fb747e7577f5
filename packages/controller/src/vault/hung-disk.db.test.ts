import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  answersOf,
  backUp,
  beginOn,
  codeOf,
  newHost,
  openTestVault,
  plainOf,
  readSnapshot,
  send,
  snapshotOf,
} from '../testing/vault-fixture.ts';
import type { Vault } from './contract.ts';

const STALL_MS = 1000;

describe('a target that hangs or is full', () => {
  let catalog: Catalog;
  let disk: MemoryDisk;
  let clock: ManualClock;
  let vault: Vault;
  const host = newHost();
  const first = snapshotOf(host, ['a', 'b', 'c', 'd'], 'first');
  const second = snapshotOf(host, ['a', 'b', 'x', 'y'], 'second');

  const open = async (quotaBytes = 0): Promise<void> => {
    vault = await openTestVault({
      catalog,
      storage: disk.mount(new Faults()),
      hosts: [host],
      limits: { storageStallMs: STALL_MS },
      clock,
      quotaBytes,
    });
  };
  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    clock = new ManualClock();
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  /** Moves the clock until the vault says so; what it waits for takes real turns of the event loop. */
  const until = async (holds: () => boolean, stepMs = 0): Promise<void> => {
    for (let turns = 0; turns < 2000 && !holds(); turns++) {
      clock.advance(stepMs);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(holds(), 'it comes to that').to.equal(true);
  };

  it('7 the vault says so, the session ends with a clear error, and nothing is lost when the disk answers again', async () => {
    await open();
    const kept = await backUp(vault, host, first);
    const stream = await beginOn(vault, host);
    const answers = codeOf(answersOf(stream));
    const release = disk.hang();
    for (const object of second) await send(stream, object).catch(() => undefined);
    await until(() => vault.state().trouble !== '', STALL_MS / 4);
    expect(vault.state().answers).to.equal(false);
    expect(vault.state().trouble).to.match(/^the disk of the vault has not answered for \d+ s/);
    expect(await answers).to.equal('STORAGE_FAILED');
    // Nobody waits from now on: a new backup and a read hear of it at once.
    expect(await codeOf(backUp(vault, host, second))).to.equal('STORAGE_FAILED');
    expect(
      [...(await readSnapshot(vault, host, kept.snapshotId)).values()].every((text) => text.startsWith('! ')),
    ).to.equal(true);

    release();
    await until(() => vault.state().trouble === '');
    expect(await readSnapshot(vault, host, kept.snapshotId)).to.deep.equal(plainOf(host, first));
    const again = await backUp(vault, host, second);
    expect(await readSnapshot(vault, host, again.snapshotId)).to.deep.equal(plainOf(host, second));
    clock.advance(60_000); // a round of housekeeping finishes what was given up
    expect((await vault.verify({})).damages).to.deep.equal([]);
    expect((await vault.verify({})).snapshots).to.deep.equal([]);
  });

  it('5 less than the reserve free: uploads are refused by name, reads go on, and room makes it well', async () => {
    disk.totalBytes = 1_000_000;
    await open();
    const kept = await backUp(vault, host, first);
    disk.freeBytes = 10_000;
    clock.advance(10_000);
    await until(() => vault.state().trouble !== '');
    expect(vault.state()).to.deep.include({ trouble: 'the disk of the vault is full', answers: true });
    expect(await codeOf(backUp(vault, host, second))).to.equal('STORAGE_FULL');
    expect(await readSnapshot(vault, host, kept.snapshotId)).to.deep.equal(plainOf(host, first));
    disk.freeBytes = 900_000;
    clock.advance(10_000);
    await until(() => vault.state().trouble === '');
    const again = await backUp(vault, host, second);
    expect(await readSnapshot(vault, host, again.snapshotId)).to.deep.equal(plainOf(host, second));
  });

  it('a domain that has stored its quota is refused, and keeps what it has', async () => {
    const bytes = first.reduce((sum, { envelope }) => sum + envelope.length, 0);
    await open(bytes + 1000);
    const kept = await backUp(vault, host, first);
    const large = snapshotOf(host, [`${'x'.repeat(5000)}${Math.PI}`, 'y'], 'large');
    large[0] = snapshotOf(host, [Array.from({ length: 3000 }, (_, at) => at.toString(36)).join()], 'random')[0]!;
    expect(await codeOf(backUp(vault, host, large))).to.equal('LIMIT_EXCEEDED');
    expect(await readSnapshot(vault, host, kept.snapshotId)).to.deep.equal(plainOf(host, first));
  });
});
