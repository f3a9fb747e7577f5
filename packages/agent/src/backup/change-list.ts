// What a scan of changed paths found, as changes to the previous manifest.
//
// Bounded: beyond MOST_CHANGES the scan gives up and walks the whole source, which needs no list.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { comparePaths } from '@holdfast/shared/base/byte-string';
import type { Change } from '@holdfast/shared/format/manifest/changes';
import type { Entry } from '@holdfast/shared/format/manifest/entry';
import type { ManifestSink } from './assembler.ts';

const MOST_CHANGES = 50_000;

/** A list of changes won't do: the whole source must be walked. */
export class NeedsWholeWalk extends Error {}

export class ChangeList implements ManifestSink {
  readonly #changes: Change[] = [];

  add(entry: Entry): void {
    this.#push({ kind: 'put', entry });
  }

  /** What is unchanged is no change. */
  keep(): void {}

  remove(path: ByteString): void {
    this.#push({ kind: 'remove', path });
  }

  /** In manifest order: removals are known before the content of entries in front of them is sealed. */
  inOrder(): Change[] {
    return this.#changes.toSorted((a, b) => comparePaths(pathOf(a), pathOf(b)));
  }

  #push(change: Change): void {
    if (this.#changes.length >= MOST_CHANGES) throw new NeedsWholeWalk('more changes than a list should hold');
    this.#changes.push(change);
  }
}

function pathOf(change: Change): ByteString {
  return change.kind === 'put' ? change.entry.path : change.path;
}
