// A restored data directory: before it is written, whether it may be; afterwards, what makes a server take it.

import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { RestoreJob } from '../../../jobs/job.ts';
import { accountNamed, type Account } from '../../../os/account.ts';
import { recoverySettings, withoutRecoverySettings, type RecoveryOrder } from './recovery-settings.ts';

/** PostgreSQL refuses to run as root: then the account `postgres`, or whose the directory above is. Throws FAILED_PRECONDITION. */
export function serverAccount(dataDir: string): Account {
  const uid = process.getuid?.() ?? 0;
  if (uid !== 0) return { uid, gid: process.getgid?.() ?? 0 };
  const account = accountNamed('postgres');
  if (account !== undefined) return account;
  let above = dirname(dataDir);
  while (!existsSync(above)) above = dirname(above);
  const owner = statSync(above);
  if (owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  throw new HoldfastError('FAILED_PRECONDITION', 'there is no account for the restored server to run as', {
    hint: 'PostgreSQL refuses to run as root: install postgresql-common, or make an account postgres.',
  });
}

/** Throws BUSY when a server runs in it. */
export function refuseRunningServer(dataDir: string): void {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  if (!Number.isInteger(pid) || !existsSync(`/proc/${Math.abs(pid)}`)) return;
  throw new HoldfastError('BUSY', `a PostgreSQL server (process ${Math.abs(pid)}) runs in ${dataDir}`, {
    hint: `Stop it first: pg_ctl stop -D ${dataDir}. A restore never overwrites a running server.`,
  });
}

/** Throws FAILED_PRECONDITION when there is something in it: files of two clusters in one directory are none. */
export function refuseMerging(dataDir: string, { delta, intoNonEmpty }: RestoreJob): void {
  if (delta || !intoNonEmpty || !existsSync(dataDir) || readdirSync(dataDir).length === 0) return;
  throw new HoldfastError(
    'FAILED_PRECONDITION',
    `${dataDir} is not empty, and no cluster is merged with what is there`,
    {
      hint: 'Name a new or empty directory; or, where it holds an older state of this cluster, --delta.',
    },
  );
}

/** Throws FAILED_PRECONDITION when the server's account could not reach the directory. */
export function checkReachable(dataDir: string, { uid, gid }: Account): void {
  if (process.getuid?.() !== 0) return;
  for (let directory = dirname(dataDir); directory !== '/'; directory = dirname(directory)) {
    if (!existsSync(directory)) continue;
    const { mode, uid: owner, gid: group } = statSync(directory);
    const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001;
    if ((mode & bit) !== 0) continue;
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `the account of the server (${uid}) can't pass through ${directory}`,
      {
        hint: `Restore to another place, below /var/lib/postgresql say, or: chmod o+x ${directory}`,
      },
    );
  }
}

/** Owner of everything below, and the mode that the server insists on. */
export function giveTo(dataDir: string, { uid, gid }: Account): void {
  if (process.getuid?.() === 0) {
    const give = (directory: string): void => {
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        const path = join(directory, entry.name);
        lchownSync(path, uid, gid);
        if (entry.isDirectory()) give(path);
      }
    };
    give(dataDir);
    chownSync(dataDir, uid, gid);
  }
  chmodSync(dataDir, 0o700);
}

/** Debian keeps these in /etc, so a base of it has none; and only then. The socket's directory is closed to everybody else. */
const FALLBACKS: Readonly<Record<string, string>> = {
  'postgresql.conf': '# Made by a restore of Holdfast: the base had none, its server kept it elsewhere.\n',
  'pg_hba.conf':
    '# Made by a restore of Holdfast: the base had none, its server kept it elsewhere.\nlocal all all trust\nlocal replication all trust\n',
  'pg_ident.conf': '',
};

/** Makes the restored directory one that a server recovers from. Durable when it returns. */
export function prepareRecovery(dataDir: string, order: RecoveryOrder): void {
  prepareStart(dataDir, recoverySettings(order), 'recovery.signal');
}

/**
 * Makes a restored directory one that a server starts from as `signalFile` says, with `settings` (of recovery-settings.ts) as its last words.
 * Durable when it returns.
 */
export function prepareStart(
  dataDir: string,
  settings: string,
  signalFile: 'recovery.signal' | 'standby.signal',
): void {
  for (const name of ['postmaster.pid', 'standby.signal', 'recovery.signal'])
    rmSync(join(dataDir, name), { force: true });
  for (const [name, text] of Object.entries(FALLBACKS)) {
    if (!existsSync(join(dataDir, name))) writeDurably(join(dataDir, name), text);
  }
  replaceSettings(dataDir, settings);
  writeDurably(join(dataDir, signalFile), '');
  syncDirectory(dataDir);
}

/** The last words of a directory's configuration, in place of those of an earlier restore. */
export function replaceSettings(dataDir: string, settings: string): void {
  const auto = join(dataDir, 'postgresql.auto.conf');
  const before = existsSync(auto) ? readFileSync(auto, 'utf8') : '';
  writeDurably(auto, `${withoutRecoverySettings(before).trimEnd()}\n${settings}`);
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'w', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
