// Page tags: which page of a database file or a disk image had which content.
//
// A page file (PostgreSQL relation, InnoDB tablespace, SQLite database, disk image) is compared page by page, and a backup
// packs changed pages into chunks of up to 1 MiB. The file's segments are extents into old and new chunks. The tags of a
// chunk's pages are written once, with the chunk: a *list* for each chunk, several lists in one manifest node, to which every
// node that refers to such a chunk refers as well (ReferenceColumns). The map of a whole file is never stored: its extents and
// the lists are the map. So a backup writes tags for changed pages only, and an agent that lost its cache can compare all the
// same, without reading old content.
//
// The node refers to nothing. A reference to its chunks would keep all of them for as long as one is in use.
//
// Hazard: a tag that is taken for another page's makes a changed page look unchanged, and it is missing from the backup.
//
// Invariants (page-map.property.test.ts):
//   P1 lists come back as they were, each with its own chunk's pages in order;
//   P2 counts and sizes are checked before anything is allocated by them, and only the canonical encoding is taken.
//
// Elsewhere on purpose: which pages changed, and when a part of a file is written anew, is the agent's to decide.

import { HoldfastError } from '../base/errors.ts';
import { openNode } from './manifest/leaf-columns.ts';
import { MAX_PAGE_TAG_LISTS, MAX_TAGGED_PAGES } from './manifest/limits.ts';
import { NODE_FIELD, PAGE_TAGS_FIELD } from './manifest/node-fields.ts';
import { damaged, WireWriter } from './manifest/wire.ts';
import { TAG_BYTES } from './tag.ts';

export { MAX_PAGE_TAG_LISTS, MAX_TAGGED_PAGES } from './manifest/limits.ts';

export const MIN_PAGE_BYTES = 512;
export const MAX_PAGE_BYTES = 65_536;

/** What one page-tag node holds. */
export interface PageTagLists {
  /** A power of two, 512 to 65,536. A file's last page may be shorter. */
  readonly pageBytes: number;
  /** For each chunk: the tags of its pages, 16 × n. */
  readonly lists: readonly Buffer[];
}

/** The payload of a page-tag node, which has no references. Throws INVALID_ARGUMENT for lists that could not be read again. */
export function encodePageTags({ pageBytes, lists }: PageTagLists): Buffer {
  const counts = lists.map((tags) => tags.length / TAG_BYTES);
  const fault = faultOf(pageBytes, counts);
  if (fault !== undefined) throw new HoldfastError('INVALID_ARGUMENT', `page tags cannot be written: ${fault}`);
  const message = new WireWriter(lists.reduce((sum, { length }) => sum + length + 2, 64));
  message.uintField(PAGE_TAGS_FIELD.pageBytes, pageBytes);
  message.packedField(PAGE_TAGS_FIELD.pageCounts, counts);
  message.bytesField(PAGE_TAGS_FIELD.tags, Buffer.concat(lists));
  const outer = new WireWriter(message.length + 8);
  outer.element(NODE_FIELD.pageTags, message.peek());
  return outer.copy();
}

/** Reads the payload of a page-tag node; the lists are views of it. Throws DAMAGED. */
export function decodePageTags(payload: Buffer): PageTagLists {
  const { kind, reader } = openNode(payload);
  if (kind !== NODE_FIELD.pageTags) throw damaged('no page tags');
  let pageBytes = 0;
  let counts: readonly number[] = [];
  let tags: Buffer = Buffer.alloc(0);
  while (reader.nextField()) {
    if (reader.field === PAGE_TAGS_FIELD.pageBytes) pageBytes = reader.uint(MAX_PAGE_BYTES);
    else if (reader.field === PAGE_TAGS_FIELD.pageCounts) counts = reader.packed(MAX_PAGE_TAG_LISTS, MAX_TAGGED_PAGES);
    else if (reader.field === PAGE_TAGS_FIELD.tags) tags = reader.slice();
    else reader.unknownField();
  }
  const fault = faultOf(pageBytes, counts);
  if (fault !== undefined) throw damaged(`page tags: ${fault}`);
  if (tags.length !== counts.reduce((sum, count) => sum + count, 0) * TAG_BYTES) {
    throw damaged('page tags: not one tag for each page');
  }
  let at = 0;
  const lists = counts.map((count) => tags.subarray(at, (at += count * TAG_BYTES)));
  return { pageBytes, lists };
}

/** Whether a file can be compared in pages of this size. */
export function isPageSize(pageBytes: number): boolean {
  return (
    Number.isInteger(pageBytes) &&
    (pageBytes & (pageBytes - 1)) === 0 &&
    pageBytes >= MIN_PAGE_BYTES &&
    pageBytes <= MAX_PAGE_BYTES
  );
}

function faultOf(pageBytes: number, counts: readonly number[]): string | undefined {
  if (!isPageSize(pageBytes)) return `a page has 512 to 65,536 bytes and a power of two, not ${pageBytes}`;
  if (counts.length === 0 || counts.length > MAX_PAGE_TAG_LISTS) return `${counts.length} lists`;
  let pages = 0;
  for (const count of counts) {
    if (!Number.isSafeInteger(count) || count <= 0) return 'a list is empty or not 16 bytes a page';
    pages += count;
  }
  return pages > MAX_TAGGED_PAGES ? `over ${MAX_TAGGED_PAGES} pages` : undefined;
}
