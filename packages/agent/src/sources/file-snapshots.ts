// Restore and verify for engines whose snapshots are plain files: what comes back is those files.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { SourceEngine } from './engine.ts';

export const fileSnapshots: Pick<SourceEngine, 'restore' | 'verify'> = {
  async restore(job, deps, signal, onProgress) {
    if (job.engine?.start === true) {
      throw new HoldfastError('INVALID_ARGUMENT', `a ${job.engine.source.type} source has nothing to start`, {
        hint: 'Leave out --start: its files are restored.',
      });
    }
    return (await import('../restore/restore.ts')).runRestore(job, deps, signal, onProgress);
  },
  async verify(job, deps, signal, onProgress) {
    if (job.restoreTest !== undefined) {
      throw new HoldfastError('INVALID_ARGUMENT', `a ${job.restoreTest.source.type} source has nothing to start`, {
        hint: 'Leave out --restore-test: every byte of it is checked without.',
      });
    }
    return (await import('../restore/restore.ts')).runVerify(job, deps, signal, onProgress);
  },
};
