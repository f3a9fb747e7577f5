// Names of one inode: the first one that is restored gets the content, the others become links to it, later.
//
// Hazard: a link made before its first name is finished points to nothing, and one to a first name that failed points to
// something else that happened to be there. So links wait until all work before them is done, and a failed first name
// fails the others by name.
//
// A snapshot of a tree that was in use may hold one inode in two states (a name that was looked at again alone, a number that
// went to another file): whoever links by number alone gives one of them the other's content. So names are one group only
// while they agree on the content too.
//
// Invariants (hard-links.test.ts, restore.test.ts): H1 each group has one leader at a time; H2 a link is given out only while its leader is
// whole; H3 a group is forgotten once as many names were seen as its inode has; H4 every name has the content of its own entry.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { hardLinkKey } from '@holdfast/shared/format/manifest/tree-validator';
import type { PostedLink } from './restore-task.ts';

export interface LinkGroup {
  readonly leader: ByteString;
  /** Of the leader, once it is restored. */
  inode: bigint | undefined;
  failed: boolean;
  namesLeft: number;
}

export interface FailedLink {
  readonly path: ByteString;
  readonly leader: ByteString;
}

/** What names of one inode have in common; undefined for an entry that has no other name. */
export function linkKey(entry: PlacedEntry): string | undefined {
  const key = hardLinkKey(entry);
  if (key === undefined || statType(entry.stat) !== 'file') return key;
  const { content } = entry;
  if (content.kind === 'tree') return `${key}:${statSize(entry.stat)}:${content.root.id.toString('base64')}`;
  const segments = content.segments.map((segment) =>
    segment.kind === 'data' ? segment.tag.toString('base64') : `${segment.kind}${segment.length}`,
  );
  return `${key}:${segments.join()}`;
}

export class HardLinks {
  readonly #groups = new Map<string, LinkGroup>();
  #waiting: { readonly path: ByteString; readonly group: LinkGroup }[] = [];

  /**
   * Takes the next name of an inode. `first`: it is the leader, to be restored with its content; otherwise it waits for `take`.
   * @param names the inode's link count in the snapshot; not all of them need to be in it
   */
  add(key: string, path: ByteString, names: number): { readonly group: LinkGroup; readonly first: boolean } {
    const known = this.#groups.get(key);
    if (known === undefined) {
      const group: LinkGroup = { leader: path, inode: undefined, failed: false, namesLeft: names - 1 };
      if (group.namesLeft > 0) this.#groups.set(key, group);
      return { group, first: true };
    }
    known.namesLeft--;
    if (known.namesLeft <= 0) this.#groups.delete(key);
    this.#waiting.push({ path, group: known });
    return { group: known, first: false };
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** The links that wait. Every leader must have been restored, or have failed. */
  take(): { readonly links: readonly PostedLink[]; readonly failed: readonly FailedLink[] } {
    const links: PostedLink[] = [];
    const failed: FailedLink[] = [];
    for (const { path, group } of this.#waiting) {
      if (group.failed) failed.push({ path, leader: group.leader });
      else links.push({ path, existing: group.leader, inode: group.inode });
    }
    this.#waiting = [];
    return { links, failed };
  }
}
