import { createHmac } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { deriveDomainKeys } from './keys.ts';
import { TAG_BYTES, TagStream, tagOf, writeTag } from './tag.ts';

const secret = new Uint8Array(32).fill(9);
const keys = deriveDomainKeys(secret, 'tags', 0);
const contents = fc.uint8Array({ maxLength: 5_000 });

describe('tags', () => {
  it('are HMAC-SHA-256 with K_tag, the first 16 bytes', () => {
    fc.assert(
      fc.property(contents, (bytes) => {
        const whole = createHmac('sha256', keys.tag).update(bytes).digest();
        expect(tagOf(keys, bytes).equals(whole.subarray(0, TAG_BYTES))).to.equal(true);
      }),
    );
  });

  it('are the same in every key epoch, and others in another domain', () => {
    const rotated = deriveDomainKeys(secret, 'tags', 5);
    const foreign = deriveDomainKeys(secret, 'other', 0);
    fc.assert(
      fc.property(contents, (bytes) => {
        expect(tagOf(rotated, bytes).equals(tagOf(keys, bytes))).to.equal(true);
        expect(tagOf(foreign, bytes).equals(tagOf(keys, bytes))).to.equal(false);
      }),
    );
  });

  it('come out the same in one call, in pieces and into a column', () => {
    fc.assert(
      fc.property(contents, fc.nat(5_000), fc.nat(40), (bytes, split, offset) => {
        const at = Math.min(split, bytes.length);
        const stream = new TagStream(keys);
        stream.update(bytes.subarray(0, at));
        stream.update(bytes.subarray(at));
        const column = new Uint8Array(offset + TAG_BYTES + 1).fill(0xee);
        writeTag(keys, bytes, column, offset);
        const tag = tagOf(keys, bytes);
        expect(stream.finish().equals(tag)).to.equal(true);
        expect(tag.equals(column.subarray(offset, offset + TAG_BYTES))).to.equal(true);
        expect(column[offset + TAG_BYTES]).to.equal(0xee);
      }),
    );
  });
});
