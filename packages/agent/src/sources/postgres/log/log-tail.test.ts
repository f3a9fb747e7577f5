import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { silentLog } from '@holdfast/shared/runtime/log';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import { OtherHistory, TailCheck, TailKeeper, tailOf } from './log-tail.ts';

const stream = { systemIdentifier: '7', timeline: 1 };
const START = 1_000_000n;
const bytes = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 7 + (index >> 5)) % 251));

describe('the tail by which a log is known again', () => {
  it('A1 passes the same bytes and no others, however they come', () => {
    const tail = tailOf(stream, START, bytes)!;
    const other = Buffer.from(bytes);
    other[4800]! ^= 1;
    for (const size of [1, 100, 511, 513, 6000]) {
      for (const [sent, isOther] of [
        [bytes, false],
        [other, true],
      ] as const) {
        const check = new TailCheck(tail);
        const all = Buffer.concat([sent, Buffer.from('what comes after does not matter')]);
        const push = (): void => {
          for (let at = 0; at < all.length; at += size) check.push(START + BigInt(at), all.subarray(at, at + size));
        };
        if (isOther) expect(push).to.throw(OtherHistory);
        else push();
      }
    }
  });

  it('A2 is not what a switch of files leaves empty', () => {
    expect(tailOf(stream, START, Buffer.alloc(9000))).to.equal(undefined);
    expect(tailOf(stream, START, Buffer.concat([bytes, Buffer.alloc(9000)]))).to.deep.equal(
      tailOf(stream, START, bytes),
    );
  });

  it('A3 is kept over a restart, and none where it can’t be read', () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'holdfast-tail-'));
    try {
      const deps = { stateDir, sourceId: 'one', clock: new ManualClock(), log: silentLog };
      expect(new TailKeeper(deps).load()).to.equal(undefined);
      const keeper = new TailKeeper(deps);
      const tail = tailOf(stream, START, bytes);
      keeper.stored(tail);
      keeper.save(true);
      expect(new TailKeeper(deps).load()).to.deep.equal(tail);
      const [name] = readdirSync(join(stateDir, 'postgres-log'));
      truncateSync(join(stateDir, 'postgres-log', name!), 20);
      expect(new TailKeeper(deps).load()).to.equal(undefined);
    } finally {
      rmSync(stateDir, { recursive: true });
    }
  });
});
