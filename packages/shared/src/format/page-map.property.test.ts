import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '../base/errors.ts';
import { ManifestNode } from '../rpc/gen/holdfast/v1/manifest.ts';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import { decodePageTags, encodePageTags, MAX_PAGE_TAG_LISTS, MAX_TAGGED_PAGES } from './page-map.ts';
import { TAG_BYTES } from './tag.ts';

const pageSizes = fc.constantFrom(512, 4_096, 8_192, 16_384, 65_536);
const pageCounts = fc.array(fc.integer({ min: 1, max: 256 }), { minLength: 1, maxLength: 20 });

function listsOf(counts: readonly number[]): Buffer[] {
  return counts.map((count, i) => seededBytes(`chunk ${i}`, count * TAG_BYTES));
}

describe('page tags', () => {
  it('P1 give back each chunk’s own tags, in order, as the generated code writes them', () => {
    fc.assert(
      fc.property(pageSizes, pageCounts, (pageBytes, counts) => {
        const lists = listsOf(counts);
        const payload = encodePageTags({ pageBytes, lists });
        const decoded = decodePageTags(payload);
        expect(decoded.pageBytes).to.equal(pageBytes);
        expect(decoded.lists.map((tags) => tags.toString('hex'))).to.deep.equal(
          lists.map((tags) => tags.toString('hex')),
        );
        expect(Buffer.from(ManifestNode.encode(ManifestNode.decode(payload)).finish())).to.deep.equal(payload);
      }),
    );
  });

  it('P1 cost 16 bytes a page and little else', () => {
    expect(encodePageTags({ pageBytes: 8_192, lists: listsOf([128, 128, 64]) }).length).to.be.below(
      320 * TAG_BYTES + 24,
    );
  });

  it('P2 refuse page sizes and counts that no writer may choose', () => {
    const fine = listsOf([1]);
    for (const pageBytes of [0, 256, 8_191, 131_072, 4_096.5]) {
      expectError(() => encodePageTags({ pageBytes, lists: fine }), 'INVALID_ARGUMENT');
    }
    const refused = [
      [],
      [Buffer.alloc(0)],
      [Buffer.alloc(17)],
      [Buffer.alloc((MAX_TAGGED_PAGES + 1) * TAG_BYTES)],
      Array.from({ length: MAX_PAGE_TAG_LISTS + 1 }, () => fine[0]!),
    ];
    for (const lists of refused) expectError(() => encodePageTags({ pageBytes: 8_192, lists }), 'INVALID_ARGUMENT');
    const largest = encodePageTags({ pageBytes: 512, lists: [Buffer.alloc(MAX_TAGGED_PAGES * TAG_BYTES)] });
    expect(decodePageTags(largest).lists[0]).to.have.length(MAX_TAGGED_PAGES * TAG_BYTES);
  });

  it('P2 garbled bytes are DAMAGED or other tags, never another error', () => {
    const payload = encodePageTags({ pageBytes: 4_096, lists: listsOf([3, 1, 40]) });
    fc.assert(
      fc.property(fc.nat(payload.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(20), (at, bits, cut) => {
        const garbled = Buffer.from(payload.subarray(0, payload.length - (cut > 10 ? cut : 0)));
        garbled[at % garbled.length]! ^= bits;
        try {
          decodePageTags(garbled);
        } catch (thrown) {
          if (!(thrown instanceof HoldfastError)) throw thrown;
          expect(thrown.code).to.equal('DAMAGED');
        }
      }),
    );
  });
});
