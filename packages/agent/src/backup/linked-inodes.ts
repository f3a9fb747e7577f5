// Files with several names: the content is read under the first one, the others share it.
//
// Hazard: between two names of an inode the scan looks at the rest of the tree. Meanwhile the file may have changed, or may be
// gone and its number belong to another file. So content is shared only while size, mtime and ctime are what they were.
//
// Tested in linked-inodes.test.ts. Bounded: beyond MOST_LINKED_INODES further names are read again, and their content is found
// to be there.

import { S_IFMT, statIno, statNlink } from '@holdfast/shared/format/manifest/stat-record';
import type { SharedContent } from './assembler.ts';

const MOST_LINKED_INODES = 100_000;

interface LinkedInode {
  readonly content: SharedContent;
  readonly state: Buffer;
  namesLeft: number;
}

export class LinkedInodes {
  readonly #inodes = new Map<string, LinkedInode>();

  /** Content that another name of this very file had; forgotten with its last name. `stat`: of the opened file. */
  take(fileSystem: number, stat: Buffer): SharedContent | undefined {
    if (statNlink(stat) <= 1) return undefined;
    const key = keyOf(fileSystem, stat);
    const inode = this.#inodes.get(key);
    if (inode === undefined || !inode.state.equals(stateOf(stat))) return undefined;
    if (--inode.namesLeft === 0) this.#inodes.delete(key);
    return inode.content;
  }

  /** `stat`: what the content belongs to, as it was when reading ended. */
  remember(fileSystem: number, stat: Buffer, content: SharedContent): void {
    const namesLeft = statNlink(stat) - 1;
    if (namesLeft <= 0 || this.#inodes.size >= MOST_LINKED_INODES) return;
    this.#inodes.set(keyOf(fileSystem, stat), { content, state: stateOf(stat), namesLeft });
  }
}

/**
 * A manifest's hard-link group. It tells apart what has one inode number and is not one inode: by file system, and by type,
 * because a deleted file's number may come again within one scan, and a restore refuses a group of two types.
 */
export function linkGroup(fileSystem: number, mode: number): number {
  return 1 + fileSystem * 16 + ((mode & S_IFMT) >>> 12);
}

function keyOf(fileSystem: number, stat: Buffer): string {
  return `${fileSystem}:${statIno(stat)}`;
}

/** Size, mtime and ctime. */
function stateOf(stat: Buffer): Buffer {
  return Buffer.concat([stat.subarray(16, 24), stat.subarray(32, 56)]);
}
