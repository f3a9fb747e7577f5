import { expect } from 'chai';
import fc from 'fast-check';
import { PageTags } from '../rpc/gen/holdfast/v1/records.ts';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import { assemblePageMap, decodePageTags, encodePageTags, MAX_TAGGED_PAGES, type PageExtent } from './page-map.ts';
import { TAG_BYTES } from './tag.ts';

const pageSizes = fc.constantFrom(512, 4_096, 8_192, 16_384, 65_536);
const pageCounts = fc.array(fc.integer({ min: 1, max: 128 }), { maxLength: 20 });

function listsOf(counts: readonly number[]): Buffer[] {
  return counts.map((count, i) => seededBytes(`chunk ${i}`, count * TAG_BYTES));
}

describe('page maps', () => {
  it('P1 give back each chunk’s own tags, in order', () => {
    fc.assert(
      fc.property(pageSizes, pageCounts, (pageBytes, counts) => {
        const tagsByReference = listsOf(counts);
        const decoded = decodePageTags(encodePageTags({ pageBytes, tagsByReference }), counts.length);
        expect(decoded.pageBytes).to.equal(pageBytes);
        expect(decoded.tagsByReference.map((tags) => Buffer.from(tags).toString('hex'))).to.deep.equal(
          tagsByReference.map((tags) => tags.toString('hex')),
        );
      }),
    );
  });

  it('P1 cost 16 bytes a page and little else', () => {
    const lists = listsOf([128, 128, 64]);
    expect(encodePageTags({ pageBytes: 8_192, tagsByReference: lists }).length).to.be.below(320 * TAG_BYTES + 24);
  });

  it('P2 have for every page the tag of the chunk that its extent names', () => {
    const extent = fc.oneof(
      fc.record({ kind: fc.constant('zeros' as const), pages: fc.nat(30) }),
      fc.record({ kind: fc.constant('chunk' as const), chunk: fc.nat(4), firstPage: fc.nat(60), pages: fc.nat(60) }),
    );
    const lists = listsOf([120, 120, 120, 120, 120]);
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 12 }), (drawn) => {
        const extents: PageExtent[] = drawn.map((one) =>
          one.kind === 'zeros' ? one : { ...one, tags: lists[one.chunk]! },
        );
        const map = assemblePageMap(extents, 10_000);
        const expected: string[] = drawn.flatMap((one) =>
          Array.from({ length: one.pages }, (_, page) =>
            one.kind === 'zeros'
              ? '00'.repeat(TAG_BYTES)
              : lists[one.chunk]!.toString(
                  'hex',
                  (one.firstPage + page) * TAG_BYTES,
                  (one.firstPage + page + 1) * TAG_BYTES,
                ),
          ),
        );
        expect(map.toString('hex')).to.equal(expected.join(''));
      }),
    );
  });

  it('P3 refuse extents outside their chunk, and maps longer than allowed', () => {
    const [tags] = listsOf([10]);
    const chunk = (firstPage: number, pages: number): PageExtent => ({ kind: 'chunk', tags: tags!, firstPage, pages });
    for (const extent of [
      chunk(0, 11),
      chunk(10, 1),
      chunk(-1, 1),
      chunk(0.5, 1),
      chunk(0, -1),
      chunk(2 ** 52, 2 ** 52),
    ]) {
      expectError(() => assemblePageMap([extent], 1_000), 'DAMAGED');
    }
    expectError(() => assemblePageMap([{ kind: 'zeros', pages: 2 ** 50 }], 1_000), 'LIMIT_EXCEEDED');
    expectError(() => assemblePageMap([chunk(0, 10), { kind: 'zeros', pages: 991 }], 1_000), 'LIMIT_EXCEEDED');
    expect(assemblePageMap([chunk(0, 10), { kind: 'zeros', pages: 990 }], 1_000).length).to.equal(16_000);
  });

  it('P3 41 refuse lists whose counts, sizes or references do not add up', () => {
    const good = { pageBytes: 8_192, pageCounts: [2, 1], tags: Buffer.alloc(48) };
    const bytes = (change: Partial<PageTags>): Uint8Array => PageTags.encode({ ...good, ...change }).finish();
    decodePageTags(bytes({}), 2);
    const wrong: [Partial<PageTags>, number][] = [
      [{}, 3],
      [{ tags: Buffer.alloc(47) }, 2],
      [{ tags: Buffer.alloc(64) }, 2],
      [{ pageCounts: [3, 0] }, 2],
      [{ pageCounts: [0xffff_ffff, 4] }, 2],
      [{ pageCounts: [2_049, 1] }, 2],
      [{ pageBytes: 0 }, 2],
      [{ pageBytes: 1_000 }, 2],
      [{ pageBytes: 256 }, 2],
      [{ pageBytes: 131_072 }, 2],
      [{ pageBytes: 0x8000_0000 }, 2],
    ];
    for (const [change, references] of wrong) expectError(() => decodePageTags(bytes(change), references), 'DAMAGED');
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (garbage) => {
        expectError(() => decodePageTags(garbage, 2), 'DAMAGED');
      }),
    );
  });

  it('P3 are not written when they could not be read again', () => {
    const lists =
      (tagsByReference: Uint8Array[], pageBytes = 512): (() => unknown) =>
      () =>
        encodePageTags({ pageBytes, tagsByReference });
    expectError(lists([Buffer.alloc(15)]), 'INVALID_ARGUMENT');
    expectError(lists([Buffer.alloc(0)]), 'INVALID_ARGUMENT');
    expectError(lists([Buffer.alloc(16)], 3_000), 'INVALID_ARGUMENT');
    const full = Buffer.alloc((MAX_TAGGED_PAGES / 32) * TAG_BYTES);
    const most = encodePageTags({ pageBytes: 512, tagsByReference: Array.from({ length: 32 }, () => full) });
    expect(decodePageTags(most, 32).tagsByReference).to.have.length(32);
    expectError(lists(Array.from({ length: 33 }, () => full)), 'INVALID_ARGUMENT');
  });
});
