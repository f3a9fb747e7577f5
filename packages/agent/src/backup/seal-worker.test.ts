import { MessageChannel, Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { SealWorkerData } from './messages.ts';
import { Pressure } from './pressure.ts';

const LONG_ENOUGH_TO_END_MS = 300;

describe('backup/seal-worker', () => {
  it('waits to be ended also when the scan thread is gone', async () => {
    const { port1, port2 } = new MessageChannel();
    const data: SealWorkerData = {
      keys: deriveDomainKeys(Buffer.alloc(32, 7), 'domain', 0),
      slabs: [],
      pressure: new Pressure().memory,
      scanPort: port2,
      compression: { codec: 'zstd' },
    };
    const worker = new Worker(siblingModule(import.meta.url, './seal-worker'), {
      workerData: data,
      transferList: [port2],
    });
    let ended = false;
    worker.once('exit', () => (ended = true));
    await new Promise((resolve) => worker.once('online', resolve));
    port1.close();
    await new Promise((resolve) => setTimeout(resolve, LONG_ENOUGH_TO_END_MS));
    expect(ended).to.equal(false);
    await worker.terminate();
  });
});
