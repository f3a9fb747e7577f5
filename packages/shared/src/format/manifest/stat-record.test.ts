import { expect } from 'chai';
import fc from 'fast-check';
import { decodeStat, encodeStat, sameStat, statSize, statType, type StatFields } from './stat-record.ts';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const ns = fc.integer({ min: 0, max: 999_999_999 });
const seconds = fc.integer({ min: -(2 ** 40), max: 2 ** 40 });

const fields: fc.Arbitrary<StatFields> = fc.record({
  mode: u32,
  uid: u32,
  gid: u32,
  nlink: u32,
  size: fc.maxSafeNat(),
  ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  mtimeSeconds: seconds,
  mtimeNs: ns,
  ctimeSeconds: seconds,
  ctimeNs: ns,
  rdevMajor: u32,
  rdevMinor: u32,
});

describe('stat record', () => {
  it('30, 32: gives back every field, negative times and the largest owners among them', () => {
    fc.assert(
      fc.property(fields, (stat) => {
        const record = encodeStat(stat);
        expect(record).to.have.length(64);
        expect(decodeStat(record)).to.deep.equal(stat);
      }),
    );
  });

  it('30: holds times of 1901 and 2446 to the nanosecond', () => {
    for (const mtimeSeconds of [-(2 ** 31), -1, 0, 15_032_385_535]) {
      const record = encodeStat({ ...decodeStat(Buffer.alloc(64)), mtimeSeconds, mtimeNs: 999_999_999 });
      expect(record.readBigInt64LE(32)).to.equal(BigInt(mtimeSeconds));
      expect(decodeStat(record)).to.include({ mtimeSeconds, mtimeNs: 999_999_999 });
    }
  });

  it('compares records in place', () => {
    const column = Buffer.concat([encodeStat({ ...decodeStat(Buffer.alloc(64)), uid: 1 }), Buffer.alloc(64)]);
    expect(sameStat(column, 64, Buffer.alloc(64), 0)).to.equal(true);
    expect(sameStat(column, 0, column, 64)).to.equal(false);
  });

  it('refuses a size beyond what a number holds, and a mode without a type', () => {
    const record = Buffer.alloc(64);
    record.writeUInt32LE(2 ** 21, 20);
    expect(() => statSize(record)).to.throw('2^53');
    expect(() => statType(record)).to.throw('no file type');
  });
});
