import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import { giveBackMemory, limitArenas, reuseFreedMemory } from './memory.ts';

const KIB = 1024;
const BUFFER = 512 * KIB;
const PAGES = BUFFER / 4096;

/** Pages that the kernel had to give this process so far. */
function faults(): number {
  // Field 10 of /proc/self/stat: minor faults (proc(5)), counted from the end of the name.
  const text = readFileSync('/proc/self/stat', 'utf8');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[7]);
}

function faultsOf(rounds: number): number {
  const before = faults();
  for (let round = 0; round < rounds; round++) freeMemory(Buffer.allocUnsafeSlow(BUFFER).fill(1));
  return faults() - before;
}

describe('the memory of an agent', () => {
  /** What the allocator has at hand is taken, so that the next buffer is memory that comes from the system. */
  const held: Buffer[] = [];
  before(() => {
    limitArenas();
    while (faultsOf(4) < 3 * PAGES && held.length < 2048) held.push(Buffer.allocUnsafeSlow(BUFFER));
  });
  after(() => {
    for (const buffer of held) freeMemory(buffer);
    giveBackMemory();
  });

  it('of a buffer that is freed goes back to the system, but is used again while that is asked for', () => {
    expect(faultsOf(20)).to.be.above(15 * PAGES);
    const ends = [reuseFreedMemory(), reuseFreedMemory()];
    faultsOf(3);
    expect(faultsOf(20)).to.be.below(5 * PAGES);
    ends[0]!();
    ends[0]!();
    expect(faultsOf(20)).to.be.below(5 * PAGES);
    ends[1]!();
    expect(faultsOf(20)).to.be.above(15 * PAGES);
  });
});
