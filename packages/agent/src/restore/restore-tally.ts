// What a restore has done so far: counts, warnings, and what a dry run found.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import type { JobProgress, PlannedAction, RestorePlan } from '../jobs/job.ts';
import { LOOK_ABSENT, LOOK_CONTENT, LOOK_METADATA, LOOK_SAME, LOOK_TYPE, type RestoreAnswer } from './restore-task.ts';
import { inSentence } from './task-result.ts';
import { Warnings } from '../jobs/warnings.ts';
import type { WarningCode } from './warnings.ts';

type Growing<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };

/** Deletions come last, and are what a person must see before they happen: their examples have room of their own. */
const EXAMPLES_KEPT = 100;

export class RestoreTally {
  entries = 0;
  files = 0;
  filesWritten = 0;
  bytes = 0;
  /** Envelope bytes from the vault, nodes among them. */
  bytesFetched = 0;
  currentPath: ByteString = '';
  readonly warnings = new Warnings<WarningCode>();
  readonly planned: Growing<Omit<RestorePlan, 'dryRun'>> = {
    created: 0,
    changed: 0,
    metadata: 0,
    unchanged: 0,
    deleted: 0,
    bytesWritten: 0,
    bytesUnchanged: 0,
    bytesFetched: 0,
    examples: [],
  };
  #deletionsNamed = 0;

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
  plan(path: ByteString, stat: Buffer, look: number | undefined): void {
    const { planned } = this;
    const bytes = statType(stat) === 'file' ? statSize(stat) : 0;
    if (look === LOOK_SAME || look === LOOK_METADATA) planned.bytesUnchanged += bytes;
    else planned.bytesWritten += bytes;
    if (look === LOOK_ABSENT) {
      planned.created++;
      this.#example('create', path);
    } else if (look === LOOK_CONTENT || look === LOOK_TYPE) {
      planned.changed++;
      this.#example('change', path);
    } else if (look === LOOK_METADATA) {
      planned.metadata++;
      this.#example('metadata', path);
    } else if (look === LOOK_SAME) planned.unchanged++;
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
    const { examples } = this.planned;
    if (action === 'delete' ? this.#deletionsNamed >= EXAMPLES_KEPT : examples.length >= EXAMPLES_KEPT) return;
    if (action === 'delete') this.#deletionsNamed++;
    examples.push({ action, path });
  }
}
