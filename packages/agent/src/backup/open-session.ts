// The beginning of a backup: a session of the vault on the source's newest snapshot, and that snapshot as the base.
//
// Hazard: a backup that builds on another snapshot than the newest would take for unchanged what changed in between. So the
// agent's own copy of the base counts only when the vault names the same snapshot; otherwise it is read from the vault.

import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { BackupJob, JobDeps } from '../jobs/job.ts';
import type { BackupSession } from '../link/vault-port.ts';
import { type Base, loadBase, saveBase } from './base.ts';
import { fetchBase } from './base-fetch.ts';

/** The manifest nodes of a source, in its directory. */
export const NODES_FILE = 'nodes';

/** Where the agent keeps what it knows of a source's newest snapshot. Throws PROTOCOL_VIOLATION for what is no id. */
export function cacheDirectory(stateDir: string, sourceId: string): string {
  // The id comes from the controller and becomes a name here: only what an id can look like.
  if (!/^[0-9a-zA-Z-]{1,64}$/.test(sourceId)) {
    throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller named a source by something that is no id');
  }
  const directory = join(stateDir, 'cache', sourceId);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

/** A session on the newest snapshot, and that snapshot as the base; fetched when the cache has another one. */
export async function openSession(
  job: BackupJob,
  deps: JobDeps,
  domainSecret: Uint8Array,
  directory: string,
  signal: AbortSignal,
): Promise<{ session: BackupSession; base: Base | undefined }> {
  const { sourceId } = job.source;
  const open = (base: Base | undefined) =>
    deps.vault.openBackup({
      sourceId,
      jobId: job.jobId,
      ...(base === undefined ? {} : { baseSnapshotId: base.snapshotId }),
      signal,
    });
  let base = loadBase(directory);
  for (let attempt = 0; attempt < 3; attempt++) {
    const session = await open(base).catch((error: unknown) => {
      // A base that the vault doesn't know (a rolled-back catalog, say) is no base.
      const unknownBase = base !== undefined && error instanceof HoldfastError && error.code === 'NOT_FOUND';
      if (!unknownBase) throw error;
      return undefined;
    });
    if (session !== undefined && sameId(session.latestSnapshotId, base?.snapshotId)) return { session, base };
    session?.close();
    deps.log.info('backup.base-fetched', { sourceId, had: base !== undefined });
    const fetched = join(directory, `${NODES_FILE}.fetched`);
    rmSync(fetched, { force: true });
    base = await fetchBase(sourceId, fetched, { ...deps, domainSecret }, signal);
    if (base !== undefined) {
      renameSync(fetched, join(directory, NODES_FILE));
      saveBase(directory, base);
    }
  }
  throw new HoldfastError('BUSY', "the source's newest snapshot kept changing while the backup began", {
    hint: 'Another backup of this source commits at the same time; try again.',
  });
}

function sameId(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a, b) === 0;
}
