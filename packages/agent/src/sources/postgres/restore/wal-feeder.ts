// Brings files of the log to a restored server: all at once, for a directory that stands alone, or a few ahead of a server that is
// replaying them.
//
// Hazard: a log is larger than the disk, and a server that waits for a file that will never come. So at most AHEAD files wait, and
// of what there is not the server is told so at once (NAME.missing).
//
// Hazard: the power goes while a file is written. It gets its name only when it is whole and on disk.

import {
  closeSync,
  fchownSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { sleep } from '@holdfast/shared/runtime/clock';
import type { Account } from '../../../os/account.ts';
import { ASKED_FOLDER, FEEDING_FILE, FETCH_SCRIPT, FETCH_TEXT, LOG_FOLDER } from './recovery-settings.ts';
import type { WalSource } from './wal-files.ts';

/** Files that wait for the server at most: 128 MiB of the usual size. */
const AHEAD = 8;
const LOOK_MS = 20;
/** Left free on the file system when everything is laid at once. */
const SPARE_BYTES = 256 * 1024 * 1024;

/** A fresh folder in the data directory, with the script. */
export function prepareLogFolder(dataDir: string): void {
  rmSync(join(dataDir, LOG_FOLDER), { recursive: true, force: true });
  mkdirSync(join(dataDir, ASKED_FOLDER), { recursive: true, mode: 0o700 });
  writeFileSync(join(dataDir, FETCH_SCRIPT), FETCH_TEXT, { mode: 0o700 });
}

/** Everything, for a server that is started later by somebody else. Throws STORAGE_FULL before it begins, DAMAGED. */
export async function layAll(
  dataDir: string,
  source: WalSource,
  fileBytes: number,
  account: Account,
  signal: AbortSignal,
): Promise<void> {
  const { bavail, bsize } = await statfs(dataDir);
  const needed = source.names.length * fileBytes + SPARE_BYTES;
  if (bavail * bsize < needed) {
    throw new HoldfastError(
      'STORAGE_FULL',
      `the log up to there takes ${source.names.length} files of ${fileBytes} bytes, and ${dataDir} has no room for them`,
      {
        hint: 'Restore with --start, which needs room for a few files only, or to a point closer to the base.',
      },
    );
  }
  for (const name of [...source.histories, ...source.names]) {
    signal.throwIfAborted();
    const bytes = await source.file(name);
    if (bytes !== undefined) place(dataDir, name, bytes, account);
  }
}

export interface Feeding {
  /** What ended the log early: everything behind it was kept from the server. */
  readonly damage: HoldfastError | undefined;
  readonly filesGiven: number;
  stop(): Promise<void>;
}

/**
 * Feeds until it is stopped.
 * @param agentPid a process that lives as long as this one, as the server's own processes number it
 */
export function startFeeding(
  dataDir: string,
  source: WalSource,
  account: Account,
  clock: Clock,
  agentPid = process.pid,
): Feeding {
  writeFileSync(join(dataDir, FEEDING_FILE), String(agentPid));
  const stopping = new AbortController();
  let damage: HoldfastError | undefined;
  let next = 0;
  let given = 0;

  const bring = async (name: string): Promise<void> => {
    const isLog = source.names.includes(name);
    try {
      // Behind a damaged piece nothing may be replayed.
      const bytes = damage !== undefined && isLog ? undefined : await source.file(name);
      if (bytes === undefined) writeFileSync(join(dataDir, LOG_FOLDER, `${name}.missing`), '');
      else {
        place(dataDir, name, bytes, account);
        given++;
      }
    } catch (thrown) {
      damage ??= toHoldfastError(thrown);
      writeFileSync(join(dataDir, LOG_FOLDER, `${name}.missing`), '');
    }
  };
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const names = readdirSync(join(dataDir, ASKED_FOLDER));
      for (const name of names) {
        if (!existsSync(join(dataDir, LOG_FOLDER, name))) await bring(name);
        rmSync(join(dataDir, ASKED_FOLDER, name), { force: true });
        next = Math.max(next, source.names.indexOf(name) + 1);
      }
      const waiting = readdirSync(join(dataDir, LOG_FOLDER)).filter((name) => /^[0-9A-F]{24}$/.test(name)).length;
      const ahead = source.names[next];
      if (ahead !== undefined && waiting < AHEAD && damage === undefined) {
        next++;
        await bring(ahead);
      } else if (names.length === 0) await sleep(clock, LOOK_MS, stopping.signal);
    }
  };
  const running = run();
  running.catch((error: unknown) => (damage ??= toHoldfastError(error)));
  return {
    get damage() {
      return damage;
    },
    get filesGiven() {
      return given;
    },
    async stop() {
      stopping.abort();
      await running.catch(() => undefined);
      rmSync(join(dataDir, LOG_FOLDER), { recursive: true, force: true });
    },
  };
}

/** The server must be able to read it, and to move it away. The bytes are given back: a file of the log is 16 MiB of memory. */
function place(dataDir: string, name: string, bytes: Buffer, { uid, gid }: Account): void {
  const path = join(dataDir, LOG_FOLDER, name);
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
    if (process.getuid?.() === 0) fchownSync(file, uid, gid);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  freeMemory(bytes);
}
