// Before anything is fetched: whether the target may be written to, and how.

import { readdirSync, statSync } from 'node:fs';
import { displayPath, toBytes } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { RestoreJob } from '../jobs/job.ts';
import type { RestoreThreadData } from './restore-task.ts';
import { RestoreTarget } from './target/restore-target.ts';

/**
 * Creates the directory if it is missing; in a dry run only looks, and answers undefined when there is none.
 * Throws FAILED_PRECONDITION when it is not empty and the job does not say that it may be.
 */
export function prepareTarget(job: RestoreJob): RestoreThreadData['target'] {
  if (!job.target.startsWith('/')) {
    throw new HoldfastError('INVALID_ARGUMENT', `the target ${displayPath(job.target)} is not an absolute path`);
  }
  if (job.deleteExtra && !job.delta) {
    throw new HoldfastError('INVALID_ARGUMENT', 'deleting what the snapshot does not have is for a delta alone', {
      hint: 'Add --delta.',
    });
  }
  const intoNonEmpty = job.intoNonEmpty || job.delta;
  if (job.dryRun && !exists(job.target)) return undefined;
  const keepRoot = job.intoNonEmpty && !job.delta && exists(job.target) && readdirSync(toBytes(job.target)).length > 0;
  RestoreTarget.prepare(job.target, { intoNonEmpty });
  return {
    path: job.target,
    root: job.root ?? '',
    into: intoNonEmpty || job.dryRun ? 'merge' : 'fresh',
    setuid: job.setuid,
    keepRoot,
    replaceDirectories: job.deleteExtra,
  };
}

function exists(path: string): boolean {
  return statSync(toBytes(path), { throwIfNoEntry: false }) !== undefined;
}
