// The restore that a restore test begins with: everything of what the verify job may read, into a new directory. Pure.

import { fromText } from '@holdfast/shared/base/byte-string';
import type { RestoreJob, VerifyJob } from './job.ts';

/** @param target absolute path of a directory that holds nothing */
export function wholeRestore(job: VerifyJob, target: string): RestoreJob {
  return {
    kind: 'restore',
    jobId: job.jobId,
    grant: job.grant,
    target: fromText(target),
    paths: [],
    delta: false,
    dryRun: false,
    intoNonEmpty: false,
    setuid: false,
    deleteExtra: false,
    limitBytesPerSecond: job.limitBytesPerSecond,
  };
}
