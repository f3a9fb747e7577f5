// From sorted entries to a manifest: missing parents are made, and what the previous snapshot had and this one has not is
// counted as dead in its bundles.

import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import type { ManifestBuilder, ManifestRoot } from '@holdfast/shared/format/manifest/builder';
import { type Content, type Entry, newEntry } from '@holdfast/shared/format/manifest/entry';
import { isWithin } from '@holdfast/shared/format/manifest/paths';
import type { PreviousManifest } from '@holdfast/shared/format/manifest/previous-manifest';
import {
  decodeStat,
  encodeStat,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  STAT_BYTES,
  statMode,
} from '@holdfast/shared/format/manifest/stat-record';
import type { DeadBytes } from '../dead-bytes.ts';

/** Of a directory that nobody described: its owner is that of what it was made for, and nobody else looks in. */
const PARENT_MODE = S_IFDIR | 0o700;

export interface Assembled {
  readonly root: ManifestRoot;
  /** Regular files. */
  readonly files: number;
  /** Of these, whose content is not that of the previous snapshot. */
  readonly filesChanged: number;
}

/** Throws INVALID_ARGUMENT for an entry that is malformed or stands below one that is no directory. */
export function assembleManifest(
  entries: Iterable<Entry>,
  previous: PreviousManifest,
  manifest: Pick<ManifestBuilder, 'add' | 'finish'>,
  dead: DeadBytes,
): Assembled {
  let files = 0;
  let filesChanged = 0;
  const parents = new Parents();
  for (const entry of entries) {
    for (; previous.valid && comparePaths(previous.path, entry.path) < 0; previous.advance())
      dropPrevious(previous, dead);
    for (const parent of parents.missingFor(entry)) manifest.add(parent);
    manifest.add(entry);
    const before = previous.valid && previous.path === entry.path;
    if ((statMode(entry.stat) & S_IFMT) === S_IFREG) {
      files++;
      if (!before || !sameContent(entry.content, previous.leaf.content(previous.index))) {
        filesChanged++;
        if (before) dropPrevious(previous, dead);
      }
    } else if (before) dropPrevious(previous, dead);
    if (before) previous.advance();
  }
  if (parents.path === undefined) manifest.add(directory('', newEntry('', Buffer.alloc(STAT_BYTES))));
  for (; previous.valid; previous.advance()) dropPrevious(previous, dead);
  return { root: manifest.finish(), files, filesChanged };
}

/** Goes along with the paths and says which directories were never named. */
class Parents {
  path: ByteString | undefined;

  missingFor(entry: Entry): Entry[] {
    const missing: Entry[] = [];
    let last = this.path;
    for (const above of pathsAbove(entry.path)) {
      if (last !== undefined && isWithin(last, above)) continue;
      missing.push(directory(above, entry));
      last = above;
    }
    this.path = entry.path;
    return missing;
  }
}

/** From the root down; none for the root itself. */
function pathsAbove(path: ByteString): ByteString[] {
  if (path === '') return [];
  const above: ByteString[] = [''];
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) above.push(path.slice(0, at));
  return above;
}

function directory(path: ByteString, madeFor: Entry): Entry {
  const { uid, gid, mtimeSeconds, mtimeNs, ctimeSeconds, ctimeNs, ...rest } = decodeStat(madeFor.stat);
  const times = { mtimeSeconds, mtimeNs, ctimeSeconds, ctimeNs };
  const stat = encodeStat({ ...rest, mode: PARENT_MODE, uid, gid, nlink: 1, size: 0, ...times });
  return newEntry(path, stat, { user: madeFor.user, group: madeFor.group });
}

/** Of files in one piece, which alone can stand in a bundle. */
function dropPrevious(previous: PreviousManifest, dead: DeadBytes): void {
  const content = previous.leaf.content(previous.index);
  if (content.kind === 'segments' && content.segments.length === 1) dead.drop(content);
}

function sameContent(a: Content, b: Content): boolean {
  if (a.kind === 'tree' || b.kind === 'tree') {
    return a.kind === 'tree' && b.kind === 'tree' && a.root.id.equals(b.root.id);
  }
  return (
    a.segments.length === b.segments.length &&
    a.segments.every((segment, i) => {
      const other = b.segments[i]!;
      if (segment.kind !== 'data' || other.kind !== 'data') {
        return segment.kind === other.kind && segment.length === other.length;
      }
      return (
        segment.length === other.length && segment.offset === other.offset && segment.chunk.id.equals(other.chunk.id)
      );
    })
  );
}
