// The backup of a file tree: a snapshot whose content the scan makes.
//
// The way to the commit is the same for every engine: producer/run-snapshot.ts.

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { BackupJob, FilesSpec, JobDeps, JobReport, ProgressListener } from '../jobs/job.ts';
import type { ScanSettings } from './messages.ts';
import { runSnapshot } from './producer/run-snapshot.ts';

/** Throws CANCELLED once `signal` is aborted. */
export async function runBackup(
  job: BackupJob<FilesSpec>,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const settings: ScanSettings = {
    source: job.source.files,
    fullRead: job.fullRead,
    changedPaths: job.changedPaths,
  };
  return runSnapshot(job, deps, signal, onProgress, {
    module: siblingModule(import.meta.url, './scan-worker'),
    data: settings,
    sourceType: 'files',
    // It has begun nothing that it would have to end.
    graceMs: 0,
  });
}
