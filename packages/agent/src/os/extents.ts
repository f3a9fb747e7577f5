// Where a file has data, where it has holes, and where space was allocated without writing.
//
// Hazard: reading a 64 GiB hole takes half a minute and says nothing; restoring preallocated space as a hole breaks what
// preallocated it (swap files, databases). SEEK_HOLE calls both a hole. So holes come from SEEK_DATA/SEEK_HOLE, and where
// more is allocated than the data explains, FIEMAP tells which holes are allocated: those are *zeros*.
//
// A file system without FIEMAP (tmpfs) gives its preallocated space as holes. Space allocated beyond the end of a file
// is not recorded. A page that was written but not yet put on disk is data, whatever it holds.

import { ENXIO } from './errno.ts';
import { SEEK_DATA, SEEK_HOLE } from './flags.ts';
import { seek } from './descriptors.ts';
import { answer, libc } from './libc.ts';

/** `data` is to be read; `zeros` are allocated, never written, and read as zeros; a `hole` is neither. */
export interface Extent {
  readonly kind: 'data' | 'zeros' | 'hole';
  readonly offset: number;
  readonly length: number;
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/**
 * The first `size` bytes of a file as extents, in order, adjoining. `allocatedBytes` is st_blocks × 512. A file that
 * shrinks meanwhile ends in a hole; the reader finds out when it compares the stat records.
 */
export function extentsOf(fd: number, size: number, allocatedBytes: number): Extent[] {
  if (size === 0) return [];
  const firstHole = seek(fd, 0, SEEK_HOLE);
  // Also where the file system can't tell (an error): everything is data.
  if (firstHole < 0 || firstHole >= size) return [{ kind: 'data', offset: 0, length: size }];
  const data = dataRanges(fd, size, firstHole);
  const dataBytes = data.reduce((sum, range) => sum + range.to - range.from, 0);
  // A block more than the data may be metadata of the file itself.
  const unwritten = allocatedBytes > dataBytes + SLACK_BYTES * (data.length + 1) ? unwrittenRanges(fd, size) : [];
  return compose(size, data, unwritten);
}

const SLACK_BYTES = 4096;

function dataRanges(fd: number, size: number, firstHole: number): Range[] {
  const ranges: Range[] = [];
  if (firstHole > 0) ranges.push({ from: 0, to: firstHole });
  for (let hole = firstHole; hole < size;) {
    const from = seek(fd, hole, SEEK_DATA);
    if (from === -ENXIO || from >= size) break;
    const end = from < 0 ? size : seek(fd, from, SEEK_HOLE);
    const to = end < 0 ? size : Math.min(end, size);
    ranges.push({ from: Math.max(from, hole), to });
    hole = to;
  }
  return ranges;
}

const FS_IOC_FIEMAP = 0xc020660b;
const FIEMAP_HEADER = 32;
const FIEMAP_EXTENT = 56;
const EXTENTS_A_CALL = 512;
const EXTENT_LAST = 0x1;
const EXTENT_UNWRITTEN = 0x800;
const fiemap = Buffer.alloc(FIEMAP_HEADER + EXTENTS_A_CALL * FIEMAP_EXTENT);

function unwrittenRanges(fd: number, size: number): Range[] {
  const ranges: Range[] = [];
  for (let from = 0; from < size;) {
    fiemap.fill(0, 0, FIEMAP_HEADER);
    fiemap.writeBigUInt64LE(BigInt(from), 0);
    fiemap.writeBigUInt64LE(BigInt(size - from), 8);
    fiemap.writeUInt32LE(EXTENTS_A_CALL, 24);
    if (answer(libc.ioctl(fd, FS_IOC_FIEMAP, fiemap)) < 0) return [];
    const count = fiemap.readUInt32LE(20);
    if (count === 0) return ranges;
    let last = false;
    for (let i = 0; i < count; i++) {
      const at = FIEMAP_HEADER + i * FIEMAP_EXTENT;
      const start = Number(fiemap.readBigUInt64LE(at));
      const end = start + Number(fiemap.readBigUInt64LE(at + 16));
      const flags = fiemap.readUInt32LE(at + 40);
      if ((flags & EXTENT_UNWRITTEN) !== 0) ranges.push({ from: Math.max(start, from), to: Math.min(end, size) });
      last = (flags & EXTENT_LAST) !== 0;
      from = Math.max(from, end);
    }
    if (last) return ranges;
  }
  return ranges;
}

/** Data as it is; what lies between is zeros where it is allocated, else a hole. Ranges are sorted and don't overlap. Pure. */
export function compose(size: number, data: readonly Range[], unwritten: readonly Range[]): Extent[] {
  const extents: Extent[] = [];
  const add = (kind: Extent['kind'], from: number, to: number): void => {
    if (to > from) extents.push({ kind, offset: from, length: to - from });
  };
  let next = 0;
  const addGap = (from: number, to: number): void => {
    let at = from;
    while (next < unwritten.length && unwritten[next]!.to <= at) next++;
    for (let i = next; i < unwritten.length && unwritten[i]!.from < to; i++) {
      const start = Math.max(at, unwritten[i]!.from);
      const end = Math.min(to, unwritten[i]!.to);
      add('hole', at, start);
      add('zeros', start, end);
      at = end;
    }
    add('hole', at, to);
  };
  let at = 0;
  for (const range of data) {
    addGap(at, range.from);
    add('data', range.from, range.to);
    at = range.to;
  }
  addGap(at, size);
  return extents;
}
