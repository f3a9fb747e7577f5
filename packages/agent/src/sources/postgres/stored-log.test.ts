import { expect } from 'chai';
import { positionOf } from './log/lsn.ts';
import { noteStoredLog, waitUntilStored } from './stored-log.ts';

const stream = { systemIdentifier: '7', timeline: 1 };
const codeOf = async (work: Promise<void>): Promise<string> =>
  work.then(
    () => 'stored',
    (error: { code: string }) => error.code,
  );

describe('waiting until a log is stored', () => {
  const { signal } = new AbortController();

  it('L1 ends when the position is stored, at once when it is already', async () => {
    const notes = noteStoredLog('one');
    const wait = codeOf(waitUntilStored('one', stream, positionOf(100n), signal));
    notes.stored(stream, 99n);
    notes.stored({ ...stream, timeline: 2 }, 200n);
    expect(await Promise.race([wait, Promise.resolve('waits')])).to.equal('waits');
    notes.stored(stream, 100n);
    expect(await wait).to.equal('stored');
    expect(await codeOf(waitUntilStored('one', stream, positionOf(50n), signal))).to.equal('stored');
    notes.stop();
  });

  it('L2 fails when nobody follows the log, when it stops, in a gap, and when it is cancelled', async () => {
    expect(await codeOf(waitUntilStored('two', stream, positionOf(1n), signal))).to.equal('FAILED_PRECONDITION');
    const notes = noteStoredLog('two');
    const lost = codeOf(waitUntilStored('two', stream, positionOf(100n), signal));
    notes.gap(stream, 50n, 99n);
    notes.gap(stream, 99n, 200n);
    expect(await lost).to.equal('FAILED_PRECONDITION');
    const cancelling = new AbortController();
    const cancelled = codeOf(waitUntilStored('two', stream, positionOf(300n), cancelling.signal));
    cancelling.abort();
    expect(await cancelled).to.equal('CANCELLED');
    const stopped = codeOf(waitUntilStored('two', stream, positionOf(300n), signal));
    notes.stop();
    expect(await stopped).to.equal('FAILED_PRECONDITION');
  });

  it('goes over to a newer follower of the same source', async () => {
    const old = noteStoredLog('three');
    const wait = codeOf(waitUntilStored('three', stream, positionOf(100n), signal));
    const fresh = noteStoredLog('three');
    old.stop();
    fresh.stored(stream, 100n);
    expect(await wait).to.equal('stored');
    fresh.stop();
  });
});
