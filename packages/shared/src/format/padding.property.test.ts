import { expect } from 'chai';
import fc from 'fast-check';
import { MAX_PAYLOAD_BYTES, MAX_PLAIN_BYTES, PAYLOAD_HEADER_BYTES } from './envelope.ts';
import { padmeLength } from './padding.ts';

const lengths = fc.integer({ min: 1, max: MAX_PLAIN_BYTES + PAYLOAD_HEADER_BYTES });

describe('Padmé padding', () => {
  it('never shortens, adds at most 12 %, and pads a padded length no further', () => {
    fc.assert(
      fc.property(lengths, (length) => {
        const padded = padmeLength(length);
        expect(padded).to.be.within(length, Math.ceil(length * 1.12));
        expect(padmeLength(padded)).to.equal(padded);
      }),
    );
  });

  it('keeps the order of lengths', () => {
    fc.assert(
      fc.property(lengths, lengths, (a, b) => {
        expect(Math.sign(padmeLength(a) - padmeLength(b)) * Math.sign(a - b)).to.be.at.least(0);
      }),
    );
  });

  it('leaves few different lengths', () => {
    const seen = new Set<number>();
    for (let length = MAX_PLAIN_BYTES / 2; length < MAX_PLAIN_BYTES; length += 1_009) seen.add(padmeLength(length));
    expect(seen.size).to.be.at.most(33);
  });

  it('follows the paper’s examples and meets the format’s limit', () => {
    expect([0, 1, 8, 9, 10, 100, 1_000, 100_000].map(padmeLength)).to.deep.equal([
      0, 1, 8, 10, 10, 104, 1_024, 100_352,
    ]);
    expect(padmeLength(MAX_PLAIN_BYTES + PAYLOAD_HEADER_BYTES)).to.equal(MAX_PAYLOAD_BYTES);
  });
});
