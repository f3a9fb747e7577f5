// Page maps: which page of a database file or a disk image has which tag.
//
// A page file (PostgreSQL relation, InnoDB tablespace, SQLite database, disk image) is compared page by page, and a backup
// packs runs of changed pages into chunks of 256 KiB to 1 MiB. The file's segments are extents into old and new chunks. The
// tags of a chunk's pages are written once, with the chunk that brought the pages: a *page-tag list* for each chunk, several
// of them in one object whose references are those chunks. The map of the whole file is never stored: it is put together
// from the extents and the lists, so that a backup writes tags for changed pages only.
//
// Hazard: a tag that is assigned to the wrong page makes a changed page look unchanged, and it is missing from the backup.
//
// Invariants (page-map.property.test.ts):
//   P1 lists come back as they were, for each chunk its own pages in order;
//   P2 the assembled map has for every page the tag that its extent's chunk was written with, and zeros for a page of zeros;
//   P3 counts, sizes and extents are checked before anything is allocated by them.
//
// Elsewhere on purpose: the database sources decide what a page is, and when a region is written anew.

import { HoldfastError } from '../base/errors.ts';
import { PageTags } from '../rpc/gen/holdfast/v1/records.ts';
import { MAX_PLAIN_BYTES } from './envelope.ts';
import { damagedRecord, decodeBounded, ownBytes } from './record-fields.ts';
import { TAG_BYTES } from './tag.ts';

export const MIN_PAGE_BYTES = 512;
export const MAX_PAGE_BYTES = 65_536;
/** Pages in one page-tag object: 8 MiB of tags. */
export const MAX_TAGGED_PAGES = 524_288;
/** Chunks, so references, of one page-tag object. */
export const MAX_TAGGED_CHUNKS = 16_384;
const MAX_PAGE_TAGS_BYTES = MAX_TAGGED_PAGES * TAG_BYTES + MAX_TAGGED_CHUNKS * 5 + 64;

/** The page-tag lists of one object. */
export interface PageTagLists {
  /** A power of two, 512 to 65,536. A file's last page may be shorter. */
  readonly pageBytes: number;
  /** For each reference, in order: the tags of that chunk's pages, 16 × n. */
  readonly tagsByReference: readonly Uint8Array[];
}

/** A run of pages of a file: where their content is. */
export type PageExtent =
  | { readonly kind: 'zeros'; readonly pages: number }
  | {
      readonly kind: 'chunk';
      /** The chunk's page-tag list. */
      readonly tags: Uint8Array;
      /** First page within the chunk. */
      readonly firstPage: number;
      readonly pages: number;
    };

/** The payload of a page-tag object. Throws LIMIT_EXCEEDED or INVALID_ARGUMENT for lists that could not be read again. */
export function encodePageTags(lists: PageTagLists): Buffer<ArrayBuffer> {
  const problem = problemOfLists(
    lists.pageBytes,
    lists.tagsByReference.map((tags) => tags.length / TAG_BYTES),
  );
  if (problem !== undefined) throw new HoldfastError('INVALID_ARGUMENT', `page tags cannot be written: ${problem}`);
  return ownBytes(
    PageTags.encode({
      pageBytes: lists.pageBytes,
      pageCounts: lists.tagsByReference.map((tags) => tags.length / TAG_BYTES),
      tags: Buffer.concat(lists.tagsByReference),
    }).finish(),
  );
}

/** Reads the payload of a page-tag object with `referenceCount` references. Throws DAMAGED. */
export function decodePageTags(payload: Uint8Array, referenceCount: number): PageTagLists {
  const wire = decodeBounded(payload, MAX_PAGE_TAGS_BYTES, (bytes) => PageTags.decode(bytes));
  const problem = problemOfLists(wire.pageBytes, wire.pageCounts);
  if (problem !== undefined) throw damagedRecord(`page tags: ${problem}`);
  if (wire.pageCounts.length !== referenceCount) throw damagedRecord('page tags: not one list for each reference');
  const pages = wire.pageCounts.reduce((sum, count) => sum + count, 0);
  if (wire.tags.length !== pages * TAG_BYTES) throw damagedRecord('page tags: not one tag for each page');

  const tags = ownBytes(wire.tags);
  let at = 0;
  const tagsByReference = wire.pageCounts.map((count) => {
    const list = tags.subarray(at, at + count * TAG_BYTES);
    at += list.length;
    return list;
  });
  return { pageBytes: wire.pageBytes, tagsByReference };
}

/**
 * The tag of every page of a file, 16 × pages, from its extents in order. A page of zeros has a tag of 16 zero bytes.
 * `maxPages` bounds the answer. Throws DAMAGED for an extent outside its chunk's list, LIMIT_EXCEEDED beyond maxPages.
 */
export function assemblePageMap(extents: readonly PageExtent[], maxPages: number): Buffer<ArrayBuffer> {
  let pages = 0;
  for (const extent of extents) {
    if (!isCount(extent.pages)) throw damagedRecord('an extent has no whole number of pages');
    if (extent.kind === 'chunk') {
      const listed = extent.tags.length / TAG_BYTES;
      if (!isCount(extent.firstPage) || extent.firstPage + extent.pages > listed) {
        throw damagedRecord('an extent reaches beyond the pages of its chunk');
      }
    }
    pages += extent.pages;
    if (pages > maxPages) throw new HoldfastError('LIMIT_EXCEEDED', `a page map has over ${maxPages} pages`);
  }
  const map = Buffer.alloc(pages * TAG_BYTES);
  let at = 0;
  for (const extent of extents) {
    if (extent.kind === 'chunk') {
      const first = extent.firstPage * TAG_BYTES;
      map.set(extent.tags.subarray(first, first + extent.pages * TAG_BYTES), at);
    }
    at += extent.pages * TAG_BYTES;
  }
  return map;
}

function problemOfLists(pageBytes: number, counts: readonly number[]): string | undefined {
  const powerOfTwo = (pageBytes & (pageBytes - 1)) === 0;
  if (!powerOfTwo || pageBytes < MIN_PAGE_BYTES || pageBytes > MAX_PAGE_BYTES) {
    return `a page has 512 to 65,536 bytes and a power of two, not ${pageBytes}`;
  }
  if (counts.length > MAX_TAGGED_CHUNKS) return `over ${MAX_TAGGED_CHUNKS} chunks`;
  let pages = 0;
  for (const count of counts) {
    if (!isCount(count) || count === 0) return 'a list is empty or not 16 bytes a page';
    if (count * pageBytes > MAX_PLAIN_BYTES) return `${count} pages do not fit in a chunk`;
    pages += count;
  }
  return pages > MAX_TAGGED_PAGES ? `over ${MAX_TAGGED_PAGES} pages` : undefined;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
