// The file without which no server starts: taken away before a delta changes a data directory, put back when all else is in place.
//
// Hazard: a delta that is interrupted leaves files of two states side by side, and pages of two states in one file. A server that
// was started there by hand, or by the system after a power cut, would find a label of the new base, replay over the mixture, and
// serve it. Without global/pg_control it says that it found no database system, and ends.
//
// Invariants (control-file.test.ts, restore.db.test.ts): K1 both steps are durable when they return.

import { chownSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Account } from '../../../os/account.ts';
import { DATA_PATH } from '../base/base-facts.ts';

const CONTROL = 'global/pg_control';
/** In the snapshot. */
export const CONTROL_PATH = `${DATA_PATH}/${CONTROL}`;
/** PostgreSQL's own is 8 KiB (PG_CONTROL_FILE_SIZE). */
export const CONTROL_MAX_BYTES = 1024 * 1024;

/** What is not there need not be taken away. */
export function withholdControl(dataDir: string): void {
  const file = join(dataDir, CONTROL);
  if (!existsSync(file)) return;
  rmSync(file);
  syncPath(dirname(file));
}

/** After every other file of the directory is durable. */
export function giveControl(dataDir: string, content: Buffer, { uid, gid }: Account): void {
  const file = join(dataDir, CONTROL);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, content, { mode: 0o600, flag: 'wx' });
  if (process.getuid?.() === 0) chownSync(file, uid, gid);
  syncPath(file);
  syncPath(dirname(file));
}

function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
