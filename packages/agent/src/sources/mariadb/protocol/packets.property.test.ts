import { expect } from 'chai';
import fc from 'fast-check';
import { framed, PacketReader, PacketSplitter } from './packets.ts';

function split(bytes: Buffer, cuts: readonly number[]): string[] {
  const packets: string[] = [];
  let parts: Buffer[] = [];
  const splitter = new PacketSplitter((part, last) => {
    parts.push(Buffer.from(part));
    if (!last) return;
    packets.push(Buffer.concat(parts).toString('hex'));
    parts = [];
  });
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    splitter.push(bytes.subarray(from, from + cut));
    from += cut;
  }
  return packets;
}

describe("packets of the server's protocol", () => {
  it('are those that were sent, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 50 })),
        fc.array(fc.integer({ min: 1, max: 30 })),
        (contents, cuts) => {
          const bytes = Buffer.concat(contents.map((content, sequence) => framed(content, sequence)));
          expect(split(bytes, cuts)).to.deep.equal(contents.map((content) => Buffer.from(content).toString('hex')));
        },
      ),
    );
  });

  it('one of 16 MiB − 1 bytes goes on in the next, also when that is empty', () => {
    const full = Buffer.alloc(0xff_ff_ff + 4, 1);
    full.writeUIntLE(0xff_ff_ff, 0, 3);
    const lengths = (rest: Uint8Array): number[] =>
      split(Buffer.concat([full, framed(rest, 1)]), [9_000_000]).map((hex) => hex.length / 2);
    expect(lengths(Buffer.alloc(10))).to.deep.equal([0xff_ff_ff + 10]);
    expect(lengths(Buffer.alloc(0))).to.deep.equal([0xff_ff_ff]);
  });

  it('a field beyond the end is refused', () => {
    expect(() => new PacketReader(Buffer.from([5, 1, 2])).text()).to.throw(RangeError);
  });
});
