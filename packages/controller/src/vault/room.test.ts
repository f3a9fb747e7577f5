import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';

import { quotaWarning, reserveOf, Room, spaceWarning } from './room.ts';
import type { Space } from './storage.ts';

const GIB = 2 ** 30;

describe('room in the vault', () => {
  const setUp = (quotaBytes = 0) => {
    const clock = new ManualClock();
    const disk: { space: Space | undefined; stored: number } = {
      space: { freeBytes: 1000, totalBytes: 10_000 },
      stored: 0,
    };
    const room = new Room({
      clock,
      reserveBytes: 100,
      space: () => (disk.space === undefined ? Promise.reject(new Error('hangs')) : Promise.resolve(disk.space)),
      quotaBytes: () => Promise.resolve(quotaBytes),
      storedBytes: () => Promise.resolve(disk.stored),
    });
    return { clock, disk, room };
  };

  it('RM1 5 lets in what leaves the reserve free, counting what was let in since the last look', async () => {
    const { room, disk } = setUp();
    await room.sample();
    room.admit('d', 500);
    room.admit('d', 400);
    expect(expectError(() => room.admit('d', 1), 'STORAGE_FULL').message).to.contain('full');
    room.admit('d', 0);
    disk.space = { freeBytes: 600, totalBytes: 10_000 };
    await room.sample();
    room.admit('d', 500);
    expectError(() => room.admit('d', 1), 'STORAGE_FULL');
    disk.space = { freeBytes: 99, totalBytes: 10_000 };
    await room.sample();
    expectError(() => room.admit('d', 0), 'STORAGE_FULL');
  });

  it('RM1 looks again before it refuses a newcomer: somebody was told to make room', async () => {
    const { room, disk } = setUp();
    await room.sample();
    room.admit('d', 900);
    expectError(() => room.admit('d', 1), 'STORAGE_FULL');
    disk.space = { freeBytes: 5000, totalBytes: 10_000 };
    await room.enter('d');
    room.admit('d', 1000);
  });

  it('RM2 lets a domain store its quota and no more, and another domain its own', async () => {
    const { room, disk } = setUp(300);
    disk.stored = 100;
    await room.enter('d');
    await room.enter('e');
    await room.sample();
    room.admit('d', 200);
    expectError(() => room.admit('d', 1), 'LIMIT_EXCEEDED');
    room.admit('e', 200);
    disk.stored = 50; // something was collected
    await room.sample();
    room.admit('d', 250);
    expectError(() => room.admit('d', 1), 'LIMIT_EXCEEDED');
  });

  it('RM3 7 an unknown target refuses nothing, and is looked at again', async () => {
    const { room, disk, clock } = setUp();
    room.admit('d', 10_000);
    await room.sample();
    disk.space = undefined;
    await room.sample();
    expect(room.space).to.equal(undefined);
    room.admit('d', 10_000);
    disk.space = { freeBytes: 0, totalBytes: 10_000 };
    clock.advance(10_000);
    room.admit('d', 1);
    await room.sample();
    expectError(() => room.admit('d', 1), 'STORAGE_FULL');
  });

  it('keeps a fiftieth of a small disk, and at most 1 GiB of a large one, unless told otherwise; and warns before', () => {
    expect(reserveOf(10 * GIB, undefined)).to.equal(Math.floor(0.2 * GIB));
    expect(reserveOf(10_000 * GIB, undefined)).to.equal(GIB);
    expect(reserveOf(10 * GIB, 7)).to.equal(7);
    const at = (freeBytes: number) => spaceWarning({ freeBytes, totalBytes: 1000 }, 10)?.level;
    expect([at(9), at(10), at(49), at(50)]).to.deep.equal(['critical', 'warning', 'warning', undefined]);
    const stored = (bytes: number, quota = 100) => quotaWarning(bytes, quota)?.level;
    expect([stored(89), stored(90), stored(100), stored(500, 0)]).to.deep.equal([
      undefined,
      'warning',
      'critical',
      undefined,
    ]);
  });
});
