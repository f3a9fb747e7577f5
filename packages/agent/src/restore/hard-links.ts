// Names of one inode: the first one that is restored gets the content, the others become links to it, later.
//
// Hazard: a link made before its first name is finished points to nothing, and one to a first name that failed points to
// something else that happened to be there. So links wait until all work before them is done, and a failed first name
// fails the others by name.
//
// Invariants (hard-links.test.ts): H1 each group has one leader at a time; H2 a link is given out only while its leader is
// whole; H3 a group is forgotten once as many names were seen as its inode has.

import type { ByteString } from '@holdfast/shared/base/byte-string';
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
