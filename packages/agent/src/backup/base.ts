// The base of a backup: which snapshot the next one builds on, kept beside the cache of its nodes.
//
// The file is replaced after each commit, whole but unsynced, like the cache of nodes: what a power loss makes of it is the file
// before, or nothing that can be understood. Losing it, or finding that it names a snapshot which is not the newest, costs
// reading the manifest from the vault again, nothing else; two syncs would cost every backup several milliseconds.

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { DeadBytesRow } from './dead-bytes.ts';

export interface Base {
  /** 32 bytes. */
  readonly snapshotId: Uint8Array;
  readonly root: { readonly id: Uint8Array; readonly proof: Uint8Array };
  readonly entries: number;
  readonly totalBytes: number;
  readonly files: number;
  /** This host's clock when the backup that made the snapshot began, ms since 1970; see earliestStart. */
  readonly startedAtMs: number;
  readonly dead: readonly DeadBytesRow[];
}

/**
 * When a backup began, by whichever of its two clocks says earlier (threat 12). A wall clock that was set back in the middle gives what
 * was written after that an older ctime than the start, and it would be taken for what stood there before.
 */
export function earliestStart(startedAtMs: number, finishedAtMs: number, durationMs: number): number {
  return Math.min(startedAtMs, finishedAtMs - durationMs);
}

const BASE_FILE = 'base.json';

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const whole = z.number().int().nonnegative();
const stored = z.object({
  version: z.literal(1),
  snapshotId: hex(32),
  rootId: hex(32),
  rootProof: hex(16),
  entries: whole,
  totalBytes: whole,
  files: whole,
  startedAtMs: z.number(),
  dead: z.array(z.object({ chunk: hex(32), plainLength: whole, dead: whole })),
});

/** The base in a source's cache directory; undefined when there is none, or none that can be understood. */
export function loadBase(directory: string): Base | undefined {
  let text: string;
  try {
    text = readFileSync(join(directory, BASE_FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { snapshotId, rootId, rootProof, ...rest } = stored.parse(JSON.parse(text));
    const root = { id: Buffer.from(rootId, 'hex'), proof: Buffer.from(rootProof, 'hex') };
    return { ...rest, snapshotId: Buffer.from(snapshotId, 'hex'), root };
  } catch {
    // A cache that can't be understood is no cache.
    return undefined;
  }
}

export function forgetBase(directory: string): void {
  rmSync(join(directory, BASE_FILE), { force: true });
}

export function saveBase(directory: string, base: Base): void {
  const { snapshotId, root, ...rest } = base;
  const text = JSON.stringify({
    version: 1,
    snapshotId: Buffer.from(snapshotId).toString('hex'),
    rootId: Buffer.from(root.id).toString('hex'),
    rootProof: Buffer.from(root.proof).toString('hex'),
    ...rest,
  });
  const fresh = join(directory, `${BASE_FILE}.new`);
  writeFileSync(fresh, text, { mode: 0o600 });
  renameSync(fresh, join(directory, BASE_FILE));
}
