import { expect } from 'chai';
import { DEFAULT_KEEP_BYTES, judgeSlot, keepBytes, waitsForUs, type SlotSight } from './slot-safety.ts';

const GIB = 1024 ** 3;
const slot = (rest: Partial<SlotSight> = {}): SlotSight => ({
  retainedBytes: 0,
  walStatus: 'reserved',
  safeBytes: undefined,
  active: true,
  ...rest,
});

describe('what a slot may keep', () => {
  it('is what was asked for, else 16 GiB or a tenth of the disk', () => {
    expect(keepBytes(5, { sizeBytes: 1000, freeBytes: 1 })).to.equal(5);
    expect(keepBytes(undefined, { sizeBytes: 1000, freeBytes: 1 })).to.equal(100);
    expect(keepBytes(undefined, { sizeBytes: 1000 * GIB, freeBytes: 1 })).to.equal(DEFAULT_KEEP_BYTES);
    expect(keepBytes(undefined, undefined)).to.equal(DEFAULT_KEEP_BYTES);
  });

  it('K1 past the bound it goes, unless it is read faster than it grows', () => {
    const full = slot({ retainedBytes: 17 * GIB, active: false });
    expect(judgeSlot(full, 16 * GIB, undefined, false)).to.deep.equal({
      kind: 'let-go',
      reason: 'the slot was dropped: 17 GiB of log were kept for it, and walKeep is 16 GiB',
    });
    expect(judgeSlot(full, 16 * GIB, undefined, true).kind).to.equal('keep');
    expect(judgeSlot(slot({ retainedBytes: 15 * GIB }), 16 * GIB, undefined, false).kind).to.equal('keep');
  });

  it('K1 a disk that is nearly full comes before the bound', () => {
    const disk = { sizeBytes: 100 * GIB, freeBytes: GIB };
    expect(judgeSlot(slot({ retainedBytes: GIB }), 10 * GIB, disk, false).kind).to.equal('let-go');
    expect(judgeSlot(slot({ retainedBytes: 1024 }), 10 * GIB, disk, false).kind).to.equal('keep');
  });

  it('K2 tells when little is left until the server lets go, and that it did', () => {
    const near = judgeSlot(slot({ retainedBytes: 3 * GIB, safeBytes: GIB / 2 }), 16 * GIB, undefined, false);
    expect(near.kind === 'keep' && near.note).to.contain('after 512 MiB more of log the server drops');
    const half = judgeSlot(slot({ retainedBytes: 9 * GIB }), 16 * GIB, undefined, false);
    expect(half.kind === 'keep' && half.note).to.contain('at 16 GiB the slot is dropped');
    const well = judgeSlot(slot({ retainedBytes: 1000, safeBytes: 900_000_000 }), 16 * GIB, undefined, false);
    expect(well).to.deep.equal({ kind: 'keep', note: '' });
    expect(judgeSlot(slot({ walStatus: 'lost' }), 16 * GIB, undefined, true).kind).to.equal('lost');
  });

  it('K3 sees every form in which a server waits for us', () => {
    const names = ['*', 'holdfast', 'HoldFast', '"holdfast"', 'a, holdfast', '2 (a, holdfast)', 'FIRST 1 (holdfast)'];
    for (const text of [...names, 'any 2 (a,"HOLDFAST" , b)', 'ANY 1 (*)', '  first 1(a,*)  ']) {
      expect(waitsForUs(text, 'holdfast'), text).to.equal(true);
    }
    for (const text of ['', 'a', 'holdfast2', '"hold fast"', 'ANY 1 (a, b)', '2 (a, b)', '"*x"', '""']) {
      expect(waitsForUs(text, 'holdfast'), text).to.equal(false);
    }
  });
});
