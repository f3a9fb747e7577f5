import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Pressure } from './pressure.ts';

describe('backup/pressure', () => {
  it('P2 wakes a thread that waits as soon as bytes are released', async () => {
    const pressure = new Pressure();
    pressure.hold(100);
    const worker = new Worker(new URL('./testing/waiting-thread.ts', import.meta.url), { workerData: pressure.memory });
    const messages: string[] = [];
    worker.on('message', (message: string) => messages.push(message));
    await new Promise((resolve) => worker.once('message', resolve));
    expect(messages).to.deep.equal(['waiting']);
    pressure.release(100);
    await new Promise((resolve) => worker.once('exit', resolve));
    expect(messages).to.deep.equal(['waiting', 'held 0']);
  });

  it('counts what is held across handles on the same memory', () => {
    const one = new Pressure();
    const other = new Pressure(one.memory);
    one.hold(7);
    other.hold(5);
    other.release(7);
    expect(one.heldBytes()).to.equal(5);
    other.cancel();
    expect(one.cancelled).to.equal(true);
  });
});
