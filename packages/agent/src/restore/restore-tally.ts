// What a restore has done so far: counts, warnings, and what a dry run found.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { JobProgress } from '../jobs/job.ts';
import { LOOK_ABSENT, LOOK_CONTENT, LOOK_METADATA, LOOK_TYPE, type RestoreAnswer } from './restore-task.ts';
import { inSentence } from './task-result.ts';
import { Warnings } from '../jobs/warnings.ts';
import type { WarningCode } from './warnings.ts';

/** What a dry run, or a delta, found to do. */
export interface PlannedChanges {
  created: number;
  /** Other content, or another type. */
  changed: number;
  /** Only owner, mode, time or attributes. */
  metadata: number;
  deleted: number;
  /** Plain bytes of the chunks that must be fetched. */
  bytesToFetch: number;
  /** The first ones. */
  readonly examples: { readonly action: PlannedAction; readonly path: ByteString }[];
}

export type PlannedAction = 'create' | 'change' | 'metadata' | 'delete';

const EXAMPLES_KEPT = 1000;

export class RestoreTally {
  entries = 0;
  files = 0;
  filesWritten = 0;
  bytes = 0;
  /** Envelope bytes from the vault, nodes among them. */
  bytesFetched = 0;
  currentPath: ByteString = '';
  readonly warnings = new Warnings<WarningCode>();
  readonly planned: PlannedChanges = { created: 0, changed: 0, metadata: 0, deleted: 0, bytesToFetch: 0, examples: [] };

  add(answer: RestoreAnswer): void {
    this.entries += answer.entries;
    this.files += answer.files;
    this.filesWritten += answer.filesWritten;
    this.bytes += answer.bytes;
    this.warnings.merge(answer.warnings, answer.warningsTotal);
    for (const path of answer.removed) this.#example('delete', path);
    this.planned.deleted += answer.removedTotal;
  }

  warn(code: WarningCode, path: ByteString, message: string): void {
    this.warnings.add(code, path, message);
  }

  /** One entry's look, of a dry run or a delta. */
  plan(path: ByteString, look: number | undefined): void {
    if (look === LOOK_ABSENT) {
      this.planned.created++;
      this.#example('create', path);
    } else if (look === LOOK_CONTENT || look === LOOK_TYPE) {
      this.planned.changed++;
      this.#example('change', path);
    } else if (look === LOOK_METADATA) {
      this.planned.metadata++;
      this.#example('metadata', path);
    }
  }

  progress(phase: JobProgress['phase'], filesTotal: number, bytesTotal: number): JobProgress {
    return {
      phase,
      filesDone: this.files,
      filesTotal,
      bytesDone: this.bytes,
      bytesTotal,
      bytesNew: 0,
      bytesStored: 0,
      currentPath: this.currentPath,
    };
  }

  /** One sentence: the files that damage cost. */
  damageSentence(): string {
    const damaged = this.warnings.kept.filter((warning) => warning.code === 'damaged');
    const named = damaged.slice(0, 3).map((warning) => inSentence(warning.path));
    const more = this.warnings.count('damaged') - named.length;
    return `${this.warnings.count('damaged')} damaged: ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  }

  #example(action: PlannedAction, path: ByteString): void {
    if (this.planned.examples.length < EXAMPLES_KEPT) this.planned.examples.push({ action, path });
  }
}
