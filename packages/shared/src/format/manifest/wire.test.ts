import { expect } from 'chai';
import fc from 'fast-check';
import { unzigzag, WireReader, WireWriter, zigzag } from './wire.ts';

function bytes(...values: number[]): Buffer {
  return Buffer.from(values);
}

describe('wire format of manifest nodes', () => {
  it('numbers up to 2^53 − 1 come back', () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeNat()), (values) => {
        const writer = new WireWriter(1);
        for (const value of values) writer.varint(value);
        const reader = new WireReader(writer.copy());
        expect(values.map(() => reader.varint())).to.deep.equal(values);
        expect(reader.done).to.equal(true);
      }),
    );
  });

  it('signed numbers come back, small ones short', () => {
    expect([0, -1, 1, -2].map(zigzag)).to.deep.equal([0, 1, 2, 3]);
    fc.assert(
      fc.property(fc.integer(), (value) => {
        expect(unzigzag(zigzag(value))).to.equal(value);
      }),
    );
  });

  it('41: refuses numbers that are cut, padded or too large', () => {
    for (const bad of [
      bytes(),
      bytes(0x80),
      bytes(0x80, 0x00),
      Buffer.alloc(8, 0xff),
      bytes(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f),
    ]) {
      expect(() => new WireReader(bad).varint())
        .to.throw()
        .with.property('code', 'DAMAGED');
    }
  });

  it('41: refuses a length beyond the end before it looks at the bytes', () => {
    const reader = new WireReader(bytes(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f));
    expect(reader.nextField()).to.equal(true);
    expect(() => reader.slice()).to.throw('beyond the node');
  });

  it('refuses fields out of order, repeated, empty, or of the wrong type', () => {
    const twice = new WireReader(bytes(0x08, 1, 0x08, 1));
    twice.nextField();
    twice.uint(9);
    expect(() => twice.nextField()).to.throw('out of order');
    const wrong = new WireReader(bytes(0x08, 1));
    wrong.nextField();
    expect(() => wrong.slice()).to.throw('wrong type');
    const empty = new WireReader(bytes(0x0a, 0));
    empty.nextField();
    expect(() => empty.nested()).to.throw('empty');
  });

  it('refuses more packed numbers than there may be, and larger ones', () => {
    const packed = (...values: number[]): WireReader => {
      const reader = new WireReader(bytes(0x0a, values.length, ...values));
      reader.nextField();
      return reader;
    };
    expect(packed(1, 2, 3).packed(3, 3)).to.deep.equal([1, 2, 3]);
    expect(() => packed(1, 2, 3).packed(2, 3)).to.throw('more than 2');
    expect(() => packed(1, 2, 3).packed(3, 2)).to.throw('at most 2');
  });
});
