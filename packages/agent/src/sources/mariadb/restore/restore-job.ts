// A restore of what this engine made: a server to a point, or, when single paths are asked for or only a look, the snapshot's files.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobDeps, JobReport, ProgressListener, RestoreJob } from '../../../jobs/job.ts';
import { runRestore } from '../../../restore/restore.ts';
import { restoreServer } from './restore.ts';

export async function restoreJob(
  job: RestoreJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const { engine, ...files } = job;
  if (engine === undefined || job.paths.length > 0 || job.dryRun) return runRestore(files, deps, signal, onProgress);
  if (job.deleteExtra)
    throw new HoldfastError('INVALID_ARGUMENT', 'a server is brought back whole: there is nothing extra to delete');
  return restoreServer(job, engine, deps, signal, onProgress);
}
