// Where the embedded PostgreSQL's programs are, and as whom they run.
//
// Hazard: PostgreSQL refuses to run as root, so a controller that is root gives its server another user. That user can't
// reach the programs or the data when a directory above them is closed to it (a clone under /root, say). `setpriv`, part
// of every Debian, then lends the server the right to pass through directories, and nothing else of root's.
//
// Tested in embedded-postgres.db.test.ts.

import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { HoldfastError } from '@holdfast/shared/base/errors';

/** Programs of the npm package for this machine. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** Finds the packaged programs. Throws FAILED_PRECONDITION where the package has none for this machine. */
export function findPostgresBinaries(): PostgresBinaries {
  const packageName = `@embedded-postgres/linux-${process.arch}`;
  try {
    // It is a dependency of a dependency, so it is looked up from there.
    const require = createRequire(import.meta.resolve('embedded-postgres'));
    const bin = join(dirname(require.resolve(packageName)), '..', 'native', 'bin');
    accessSync(join(bin, 'postgres'), constants.R_OK);
    return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
  } catch (cause) {
    throw new HoldfastError('FAILED_PRECONDITION', `the embedded PostgreSQL is not available on ${process.arch}`, {
      hint: 'Set DATABASE_URL to a PostgreSQL server (14 or later).',
      cause,
    });
  }
}

/** As whom the server runs; undefined: as this process's own user. */
export interface PostgresUser {
  readonly uid: number;
  readonly gid: number;
}

/** The first of these users that the machine has owns an embedded database of a controller that is root. */
const SERVER_USERS = ['holdfast', 'postgres', 'nobody'];

/** Chooses the server's user. Throws FAILED_PRECONDITION when this process is root and the machine has none of them. */
export function choosePostgresUser(passwd: string = readFileSync('/etc/passwd', 'utf8')): PostgresUser | undefined {
  if (process.getuid?.() !== 0) return undefined;

  const users = new Map(passwd.split('\n').map((line) => [line.split(':')[0] ?? '', line.split(':')]));
  for (const name of SERVER_USERS) {
    const fields = users.get(name);
    const uid = Number(fields?.[2]);
    const gid = Number(fields?.[3]);
    if (fields !== undefined && uid > 0 && gid >= 0) return { uid, gid };
  }
  throw new HoldfastError(
    'FAILED_PRECONDITION',
    'the embedded PostgreSQL refuses to run as root, and no user exists for it',
    {
      hint: `Create a system user named ${SERVER_USERS[0]}, or set DATABASE_URL.`,
    },
  );
}

/** What to spawn so that `program` runs as `user`: the command, its first arguments, and the spawn options. */
export function commandAs(
  user: PostgresUser | undefined,
  program: string,
  paths: readonly string[],
): { command: string; args: string[]; options: { uid?: number; gid?: number } } {
  if (user === undefined) return { command: program, args: [], options: {} };
  if ([program, ...paths].every((path) => reachableByOthers(path))) {
    return { command: program, args: [], options: { uid: user.uid, gid: user.gid } };
  }

  const capability = boundingSetHas(CAP_DAC_READ_SEARCH) ? 'dac_read_search' : 'dac_override';
  return {
    command: 'setpriv',
    args: [
      `--reuid=${user.uid}`,
      `--regid=${user.gid}`,
      '--clear-groups',
      `--inh-caps=+${capability}`,
      `--ambient-caps=+${capability}`,
      // Without this access(2), which PostgreSQL uses to look at its programs, ignores the capability.
      '--securebits=+no_setuid_fixup',
      '--',
      program,
    ],
    options: {},
  };
}

function reachableByOthers(path: string): boolean {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    if ((statSync(directory).mode & 0o001) === 0) return false;
    if (directory === dirname(directory)) return true;
  }
}

const CAP_DAC_READ_SEARCH = 2n;

function boundingSetHas(capability: bigint): boolean {
  const mask = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${mask}`) >> capability) & 1n) === 1n;
}
