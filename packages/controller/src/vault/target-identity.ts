// A target says which vault it belongs to.
//
// Hazard: the disk is not mounted, and the empty directory beneath is taken for the target: every object would be missing,
// and the next backup would fill the wrong disk. So an id stands both in the catalog and in a file on the target.
//
// Tested in rebuild.db.test.ts.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Queries } from './object-index.ts';
import type { VaultStorage } from './storage.ts';

const FILE = 'target';
/** Text, so that a person who finds the disk can read it. */
const PATTERN = /^holdfast target ([0-9a-f-]{36})\n$/;

/** Throws FAILED_PRECONDITION when the target is not the one of this catalog. A new catalog and an empty target are married. */
export async function checkTarget(pool: Queries, storage: VaultStorage): Promise<void> {
  const { rows } = await pool.query<{ target_id: string | null }>('select target_id from vault_collection');
  const expected = rows[0]?.target_id ?? undefined;
  const found = await readTargetId(storage);
  if (expected !== undefined && found === expected) return;
  if (expected !== undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', "the target's directory does not hold this catalog's vault", {
      hint: 'Is its disk mounted?',
    });
  }
  if ((await storage.list()).some((name) => name.endsWith('.pack'))) {
    throw new HoldfastError('FAILED_PRECONDITION', 'the target holds packs that this catalog does not know', {
      hint: 'Rebuild the catalog from the packs, or choose an empty directory.',
    });
  }
  await adoptTarget(pool, storage);
}

/** Makes the target this catalog's. */
export async function adoptTarget(pool: Queries, storage: VaultStorage): Promise<void> {
  const id = (await readTargetId(storage)) ?? (await writeTargetId(storage));
  await pool.query('update vault_collection set target_id = $1', [id]);
}

async function readTargetId(storage: VaultStorage): Promise<string | undefined> {
  if ((await storage.size(FILE)) === undefined) return undefined;
  const text = (await storage.read(FILE, 0, 256)).toString('latin1');
  return PATTERN.exec(text)?.[1];
}

async function writeTargetId(storage: VaultStorage): Promise<string> {
  const id = randomUUID();
  // A crash may have left half a file. It names no target, so nothing depends on it.
  if ((await storage.size(FILE)) !== undefined) await storage.remove(FILE);
  const file = await storage.create(FILE);
  try {
    await file.append([Buffer.from(`holdfast target ${id}\n`)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await storage.syncDirectoryOf(FILE);
  return id;
}
