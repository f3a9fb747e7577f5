// Starting the processes of a sandbox: the first, in new namespaces, and others in those.
//
// Hazard: something that survives its agent and its plan. The first process is killed by the kernel when the one above it ends, and that
// one when the agent does; with the first process of its namespace every other is killed, whoever started it and however it hid.
//
// Hazard: a program inside that reaches around the walls. It lacks the rights to mount, to make devices, to load modules, to enter other
// namespaces, to set the clock.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import { identityOf, isAlive, type ProcessIdentity } from '../steps/process-identity.ts';
import { READY } from './init-script.ts';
import type { InsideOptions } from './sandbox.ts';

const PROGRAM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const NEEDED = ['sh', 'setpriv', 'unshare', 'nsenter', 'mount', 'umount', 'pivot_root', 'chroot', 'ip'];
const OPEN_MS = 30_000;
const END_MS = 20_000;
const SAID_MAX = 16 * 1024;
const DROPPED = [
  'sys_admin',
  'sys_module',
  'sys_rawio',
  'sys_boot',
  'sys_time',
  'sys_ptrace',
  'syslog',
  'mknod',
  'mac_admin',
  'mac_override',
  'wake_alarm',
];

export interface SandboxProcess {
  readonly init: ProcessIdentity;
  readonly alive: boolean;
  /** False when something of it is still there after END_MS: a process that waits for a disk. */
  end(): Promise<boolean>;
}

/** Runs `script` as process 1. Throws FAILED_PRECONDITION with what it said. */
export async function startSandboxProcess(script: string, clock: Clock): Promise<SandboxProcess> {
  const namespaces = ['--mount', '--uts', '--ipc', '--net', '--pid'];
  const child = spawn(
    tool('setpriv'),
    [
      '--pdeathsig',
      'KILL',
      '--',
      tool('unshare'),
      ...namespaces,
      '--propagation',
      'private',
      '--fork',
      '--kill-child=KILL',
      '--',
      tool('sh'),
      '-s',
    ],
    { cwd: '/', env: { PATH: PROGRAM_PATH, LANG: 'C.UTF-8' }, stdio: ['pipe', 'pipe', 'pipe'], detached: true },
  );
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const initPid = await readyPid(child, script, ended, clock);
  const init = identityOf(initPid);
  if (init === undefined) throw refused('its first process ended at once');
  return {
    init,
    get alive() {
      return isAlive(init);
    },
    async end() {
      if (isAlive(init)) process.kill(init.pid, 'SIGKILL');
      // The kernel lets process 1 go only when all others of its namespace are gone.
      return await Promise.race([ended.then(() => true), sleep(clock, END_MS).then(() => !isAlive(init))]);
    },
  };
}

/** The words that run `command` in the namespaces of `init`. Throws FAILED_PRECONDITION when it has ended. */
export function inside(
  init: ProcessIdentity,
  command: readonly string[],
  { account, directory }: InsideOptions = {},
): readonly string[] {
  if (!isAlive(init)) throw new HoldfastError('FAILED_PRECONDITION', 'the sandbox of this drill has ended');
  const who = account === undefined ? [] : ['--reuid', `${account.uid}`, '--regid', `${account.gid}`, '--clear-groups'];
  const where = directory === undefined ? [] : [tool('sh'), '-c', 'cd "$0" && exec "$@"', directory];
  const limits = `--bounding-set=${DROPPED.map((name) => `-${name}`).join(',')}`;
  return [...enter(init), tool('setpriv'), limits, ...who, '--', ...where, ...command];
}

/** The same with all rights, for what the sandbox does to itself. */
export function enter(init: ProcessIdentity): string[] {
  return [tool('nsenter'), '--target', String(init.pid), '--mount', '--uts', '--ipc', '--net', '--pid', '--'];
}

/** Why this host can make no sandbox; undefined: it should be able to. */
export function missingForSandbox(): string | undefined {
  if (process.getuid?.() !== 0) return 'the agent does not run as root';
  const missing = NEEDED.filter((name) => findTool(name) === undefined);
  return missing.length === 0
    ? undefined
    : `${missing.join(', ')} can't be found here (util-linux and iproute2 bring them)`;
}

export function refused(why: string): HoldfastError {
  return new HoldfastError(
    'FAILED_PRECONDITION',
    `this host can't make a sandbox, and a drill runs nowhere else: ${why}`,
    {
      hint: 'It needs root, namespaces and overlay file systems of the kernel, util-linux and iproute2. Name another host for drills, or drill by a planned run.',
    },
  );
}

export function tool(name: string): string {
  const found = findTool(name);
  if (found === undefined) throw refused(`${name} can't be found here`);
  return found;
}

function findTool(name: string): string | undefined {
  return PROGRAM_PATH.split(':')
    .map((directory) => join(directory, name))
    .find((path) => existsSync(path));
}

async function readyPid(child: ChildProcess, script: string, ended: Promise<void>, clock: Clock): Promise<number> {
  let said = '';
  const over = new AbortController();
  const failed = new Promise<never>((_resolve, reject) => child.once('error', reject));
  const ready = new Promise<number>((resolve) => {
    const hear = (chunk: Buffer): void => {
      said = (said + chunk.toString('utf8')).slice(-SAID_MAX);
      const pid = new RegExp(`^${READY} (\\d+)$`, 'm').exec(said)?.[1];
      if (pid !== undefined) resolve(Number(pid));
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
  });
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(script);
  try {
    const first = await Promise.race([
      ready,
      failed,
      ended.then(() => 'ended' as const),
      sleep(clock, OPEN_MS, over.signal),
    ]);
    if (typeof first === 'number') return first;
    throw refused(first === 'ended' ? lastWords(said) : `it was not ready within ${OPEN_MS / 1000} s`);
  } catch (error) {
    child.kill('SIGKILL');
    throw error instanceof HoldfastError ? error : refused(error instanceof Error ? error.message : String(error));
  } finally {
    over.abort();
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.unref();
  }
}

function lastWords(said: string): string {
  const lines = said.split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-3).join('; ') || 'it ended without a word';
}
