// For `delete extra`: which names each directory has in the snapshot, gathered while the manifest is walked.
//
// Hazard: deleting what only *seems* not to be in the snapshot. So a directory is pruned only once the walk has left it,
// only if all of it was selected, and never if a part of its manifest could not be read.
//
// Invariants (prune-plan.test.ts): P1 the names given for a directory are all that the snapshot has in it; P2 a directory
// that was open when a part of the manifest was lost is never given out.
//
// Pure. Memory: the names of the directories that are open at one time, and of those not yet taken.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { isWithin, nameOf, parentOf } from './selection.ts';

export interface DirectoryNames {
  readonly directory: ByteString;
  readonly names: ReadonlySet<ByteString>;
}

interface OpenDirectory {
  readonly directory: ByteString;
  readonly names: Set<ByteString>;
  whole: boolean;
}

export class PrunePlan {
  readonly #open: OpenDirectory[] = [];
  #closed: DirectoryNames[] = [];
  #closedNames = 0;

  /** The next selected entry. `whole`: everything beneath it is selected too. */
  add(path: ByteString, isDirectory: boolean, whole: boolean): void {
    this.#leave(path);
    const parent = this.#open.at(-1);
    if (path !== '' && parent?.directory === parentOf(path)) parent.names.add(nameOf(path));
    if (isDirectory) this.#open.push({ directory: path, names: new Set(), whole });
  }

  /** Entries from here on are lost: what is open now, or begins among them, has names that nobody knows. */
  gap(): void {
    for (const directory of this.#open) directory.whole = false;
  }

  end(): void {
    while (this.#open.length > 0) this.#close();
  }

  /** Names in the directories that wait to be taken: a measure of memory. */
  get waitingNames(): number {
    return this.#closedNames;
  }

  take(): readonly DirectoryNames[] {
    const taken = this.#closed;
    this.#closed = [];
    this.#closedNames = 0;
    return taken;
  }

  #leave(path: ByteString): void {
    for (
      let last = this.#open.at(-1);
      last !== undefined && !isWithin(path, last.directory);
      last = this.#open.at(-1)
    ) {
      this.#close();
    }
  }

  #close(): void {
    const directory = this.#open.pop();
    if (directory === undefined || !directory.whole) return;
    this.#closed.push(directory);
    this.#closedNames += directory.names.size + 1;
  }
}
