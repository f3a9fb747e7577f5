// Threat 1, with a real process, real files and SIGKILL at random moments. Its seed is printed with a failure.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';

import { openTestCatalog } from '../testing/test-catalog.ts';
import { backUp, newHost, openTestVault, plainOf, readSnapshot, snapshotOf } from '../testing/vault-fixture.ts';
import { openLocalDirectory } from './local-directory.ts';
import { textsOf } from '../testing/sigkill-worker.ts';

const ROUNDS = 5;

describe('a controller process that is killed', () => {
  it('threat 1 every promised snapshot reads back identically, none is half, and the next start goes on', async () => {
    const seed = Math.floor(Math.random() * 1e9);
    const random = generator(seed);
    const catalog = await openTestCatalog();
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-sigkill-'));
    const host = newHost();
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const worker = fork(fileURLToPath(siblingModule(import.meta.url, '../testing/sigkill-worker')), {
          execArgv: ['--conditions=holdfast-source'],
        });
        const promised: number[] = [];
        const ready = new Promise<void>((resolve) =>
          worker.on('message', (message: { ready?: boolean; committed?: number }) => {
            if (message.committed !== undefined) promised.push(message.committed);
            if (message.ready === true) resolve();
          }),
        );
        worker.send({ connection: catalog.connection, directory, caller: host.caller, sourceId: host.sourceId, round });
        await Promise.race([ready, once(worker, 'exit')]);
        await sleep(random() * 400);
        worker.kill('SIGKILL');
        if (worker.exitCode === null && worker.signalCode === null) await once(worker, 'exit');

        const vault = await openTestVault({ catalog, storage: await openLocalDirectory(directory), hosts: [host] });
        const { rows } = await catalog.pool.query<{ id: Buffer }>('select id from snapshot');
        const listed = new Set(rows.map((row) => row.id.toString('hex')));
        for (let backup = 0; backup <= promised.length; backup++) {
          const objects = snapshotOf(host, textsOf(round, backup), `${round} ${backup}`);
          const { id } = objects.at(-1)!;
          // The last one may have been committed without its promise getting through.
          if (backup < promised.length)
            expect(listed.has(id.toString('hex')), `round ${round}, backup ${backup}`).to.equal(true);
          if (listed.has(id.toString('hex')))
            expect(await readSnapshot(vault, host, id)).to.deep.equal(plainOf(host, objects));
        }
        const report = await vault.verify({});
        expect(report.damages).to.deep.equal([]);
        expect(report.snapshots).to.deep.equal([]);
        await backUp(vault, host, snapshotOf(host, textsOf(round, 999), `${round} by the next process`));
        await vault.stop();
      }
    } catch (error) {
      throw new Error(`with seed ${seed}`, { cause: error });
    } finally {
      await catalog.close();
      rmSync(directory, { recursive: true });
    }
  });
});

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
