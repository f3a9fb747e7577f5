// Entries with everything that is hard to keep, for the tests of leaves and the published vectors.

import { type Entry, newEntry, type Xattr } from '../format/manifest/entry.ts';
import { chunkOf, dataSegment, pagedChunkOf, sha256, statOf } from './manifest-trees.ts';

export const someSegmentTree = { id: sha256('tree'), proof: sha256('tree proof').subarray(0, 16) };

/** One entry of everything that is hard to keep. */
export function everyKindOfEntry(): Entry[] {
  const xattrs: Xattr[] = [
    { name: 'security.capability', value: Buffer.from('0100000200040000', 'hex') },
    { name: 'system.posix_acl_access', value: Buffer.from([2, 0, 0, 0, 0]) },
    { name: 'trusted.\xff', value: Buffer.alloc(0) },
    { name: 'user.nul', value: Buffer.from('\0a\0') },
  ];
  const bundle = chunkOf('bundle');
  const large = chunkOf('large', 4096);
  const pages = pagedChunkOf('pages', 'tags', 0, 3 * 8192);
  const morePages = pagedChunkOf('more pages', 'tags', 1, 8192);
  return [
    newEntry('', statOf(0o041777, { uid: 2 ** 32 - 2, gid: 2 ** 32 - 1, mtimeSeconds: -(2 ** 31) }), {
      user: 'a',
      group: '',
    }),
    newEntry('__proto__', statOf(0o120777), { linkTarget: '\xff/..//x\n' }),
    newEntry('block', statOf(0o060600, { rdevMajor: 4095, rdevMinor: 1_048_575 }), {
      xattrs: { kind: 'inline', list: xattrs },
    }),
    newEntry('char', statOf(0o020600, { rdevMajor: 1, rdevMinor: 3 }), { user: 'b\xe9', group: 'g' }),
    newEntry('fifo', statOf(0o010000), { hardLinkGroup: Number.MAX_SAFE_INTEGER }),
    newEntry(
      'file',
      statOf(0o107777, { size: 100 + 50 + 4096 + 7 + 9, ino: 2n ** 64n - 1n, mtimeSeconds: 15_032_385_535 }),
      {
        inodeFlags: 2 ** 32 - 1,
        content: {
          kind: 'segments',
          segments: [
            dataSegment('a', 100, bundle, 1000),
            { kind: 'hole', length: 50 },
            dataSegment('b', 4096, large),
            { kind: 'zeros', length: 7 },
            dataSegment('c', 9, bundle, 0),
          ],
        },
      },
    ),
    newEntry('hole', statOf(0o100000, { size: 2 ** 36 }), {
      content: { kind: 'segments', segments: [{ kind: 'hole', length: 2 ** 36 }] },
    }),
    newEntry('paged', statOf(0o100600, { size: 3 * 8192 }), {
      content: {
        kind: 'segments',
        segments: [
          dataSegment('second page', 8192, pages, 8192),
          dataSegment('other page', 8192, morePages),
          dataSegment('first page', 8192, pages),
        ],
      },
    }),
    newEntry('same-xattrs', statOf(0o100000), { xattrs: { kind: 'inline', list: xattrs } }),
    newEntry('socket', statOf(0o140755), { hardLinkGroup: 1 }),
    newEntry('tree', statOf(0o100600, { size: 2 ** 52 }), {
      content: { kind: 'tree', root: someSegmentTree, segmentCount: 2 ** 33 },
    }),
    newEntry('xattrs', statOf(0o040700), {
      xattrs: {
        kind: 'chunk',
        segment: { kind: 'data', chunk: chunkOf('x', 5000), offset: 3, length: 4900, tag: sha256('x').subarray(0, 16) },
      },
    }),
  ];
}
