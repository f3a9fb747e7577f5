// Warm copies as jobs, and their modules loaded with the first: an agent that keeps no copy holds none of it.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { RunRestore } from '../../jobs/job.ts';
import type { WarmDatabases, WarmDatabasesDeps } from './warm-databases.ts';

export interface LazyWarmDatabases {
  readonly run: RunRestore;
  stop(): Promise<void>;
}

/** What an earlier agent kept is taken up at once. */
export function lazyWarmDatabases(deps: WarmDatabasesDeps): LazyWarmDatabases {
  let loading: Promise<WarmDatabases> | undefined;
  const load = (): Promise<WarmDatabases> => {
    loading ??= import('./warm-databases.ts').then(async ({ WarmDatabases: Copies }) => {
      const copies = new Copies(deps);
      await copies.resume();
      return copies;
    });
    // A file that could not be read now may be readable later.
    loading.catch(() => (loading = undefined));
    return loading;
  };
  if (hasRecords(deps.stateDir)) {
    load().catch((error: unknown) => deps.log.error('warm.not-resumed', { error: toHoldfastError(error).message }));
  }
  return {
    run: async (job, jobDeps, signal, onProgress) => (await load()).run(job, jobDeps, signal, onProgress),
    stop: async () => (await loading?.catch(() => undefined))?.stop(),
  };
}

function hasRecords(stateDir: string): boolean {
  const folder = join(stateDir, 'warm');
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.json'));
}
