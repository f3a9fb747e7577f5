// Whether one entry is well formed: the same check before it is written and after it is read.
//
// Hazard: an entry that contradicts itself (segments that don't add up to its size, a symlink without a target) would
// otherwise be found at the restore, when the source is gone.

import type { Content, Entry, Segment } from './entry.ts';
import { ID_BYTES, MAX_INLINE_SEGMENTS, MAX_LINK_TARGET_BYTES, MAX_OWNER_NAME_BYTES, PROOF_BYTES } from './limits.ts';
import { STAT_BYTES, statCtimeNs, statMode, statMtimeNs, statSize, typeOfMode } from './stat-record.ts';
import { dataSegmentFault, xattrsFault, xattrsWeight } from './xattrs.ts';

const MAX_NS = 999_999_999;
const SIZE_HIGH_AT = 20;

/** What is wrong with an entry, its path aside; undefined when nothing is. */
export function entryFault(entry: Entry): string | undefined {
  if (entry.stat.length !== STAT_BYTES) return 'has no stat record of 64 bytes';
  const type = typeOfMode(statMode(entry.stat));
  if (type === undefined) return `has mode ${statMode(entry.stat).toString(8)}, which names no file type`;
  if (statMtimeNs(entry.stat) > MAX_NS || statCtimeNs(entry.stat) > MAX_NS) return 'has a time of more than 10^9 ns';
  if (entry.stat.readUInt32LE(SIZE_HIGH_AT) >= 2 ** 21) return 'has a size beyond 2^53 − 1 bytes';
  return (
    ownerFault(entry.user) ??
    ownerFault(entry.group) ??
    linkFault(entry, type === 'symlink', type === 'directory') ??
    (Number.isInteger(entry.inodeFlags) && entry.inodeFlags >= 0 && entry.inodeFlags < 2 ** 32
      ? undefined
      : 'has inode flags beyond 32 bits') ??
    xattrsFault(entry.xattrs) ??
    contentFault(entry.content, type === 'file' ? statSize(entry.stat) : undefined)
  );
}

function ownerFault(name: string): string | undefined {
  if (name.length > MAX_OWNER_NAME_BYTES) return 'has a too long owner name';
  return isByteString(name) ? undefined : 'has an owner name that is no byte string';
}

function linkFault(entry: Entry, isSymlink: boolean, isDirectory: boolean): string | undefined {
  const { linkTarget, hardLinkGroup } = entry;
  if (isSymlink !== linkTarget.length > 0) return isSymlink ? 'is a symlink without a target' : 'has a link target';
  if (linkTarget.length > MAX_LINK_TARGET_BYTES || linkTarget.includes('\0') || !isByteString(linkTarget)) {
    return 'has a malformed link target';
  }
  if (!Number.isSafeInteger(hardLinkGroup) || hardLinkGroup < 0) return 'has a malformed hard-link group';
  return hardLinkGroup !== 0 && isDirectory ? 'is a directory with a hard-link group' : undefined;
}

/** `size`: of a regular file; undefined for everything else. */
function contentFault(content: Content, size: number | undefined): string | undefined {
  if (content.kind === 'tree') {
    if (size === undefined) return 'is no file, but has a segment tree';
    if (content.root.id.length !== ID_BYTES || content.root.proof.length !== PROOF_BYTES)
      return 'has a malformed tree reference';
    return Number.isSafeInteger(content.segmentCount) && content.segmentCount > MAX_INLINE_SEGMENTS
      ? undefined
      : `has a segment tree of ${content.segmentCount} segments`;
  }
  if (size === undefined) return content.segments.length === 0 ? undefined : 'is no file, but has content';
  if (content.segments.length > MAX_INLINE_SEGMENTS) return `has more than ${MAX_INLINE_SEGMENTS} segments in its leaf`;
  let sum = 0;
  for (const segment of content.segments) {
    const fault = segmentFault(segment);
    if (fault !== undefined) return fault;
    sum += segment.length;
  }
  return sum === size ? undefined : `has ${size} bytes, but its segments add up to ${sum}`;
}

/** What is wrong with a segment; undefined when nothing is. */
export function segmentFault(segment: Segment): string | undefined {
  if (segment.kind === 'data') return dataSegmentFault(segment);
  return Number.isSafeInteger(segment.length) && segment.length > 0 ? undefined : 'has an empty segment';
}

function isByteString(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0xff) return false;
  return true;
}

/**
 * At least what an entry takes in a leaf: the leaf closes by the sum of these, so the formula belongs to the format.
 * `rest`: bytes of its path that front coding doesn't share.
 */
export function entryWeight(entry: Entry, rest: number): number {
  return (
    128 +
    rest +
    entry.linkTarget.length +
    entry.user.length +
    entry.group.length +
    xattrsWeight(entry.xattrs) +
    contentWeight(entry.content)
  );
}

function contentWeight(content: Content): number {
  if (content.kind === 'tree') return SEGMENT_WEIGHT;
  const paged = content.segments.filter((segment) => segment.kind === 'data' && segment.chunk.pageTags !== undefined);
  return SEGMENT_WEIGHT * content.segments.length + PAGE_TAGS_WEIGHT * paged.length;
}

const SEGMENT_WEIGHT = 64;
const PAGE_TAGS_WEIGHT = 32;
