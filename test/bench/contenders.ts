// Who is measured, each through its own command line: Holdfast on a disposable fleet, restic and borg on local repositories.
// All encrypt and compress as they do by default.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fleetDown, fleetStatus, fleetUp, holdfast } from '../fleet/fleet.ts';
import { layoutOf } from '../fleet/layout.ts';
import { type Cost, measure, type Subject } from './measure.ts';

export interface Contender {
  readonly name: string;
  /** Makes `source` known under `label`, where that is needed. */
  protect(label: string, source: string): Promise<void>;
  backup(label: string, source: string): Promise<Cost>;
  /** The newest state of `label` into an empty directory. Returns also where the tree then is. */
  restore(label: string, source: string, target: string): Promise<{ cost: Cost; tree: string }>;
  storedBytes(): number;
  close(): Promise<void>;
}

export async function holdfastContender(dir: string, say: (line: string) => void): Promise<Contender> {
  const fleetDir = join(dir, 'fleet');
  rmSync(fleetDir, { recursive: true, force: true });
  await fleetUp({ dir: fleetDir, hosts: ['bench-1'], say });
  const layout = layoutOf(fleetDir);
  const processes = new Map<string, number>();
  for (const { name, pid } of await fleetStatus(fleetDir)) if (pid !== undefined) processes.set(name, pid);
  const subjects: Subject[] = [
    { name: 'agent', pid: processes.get('bench-1')!, counts: 'all' },
    { name: 'controller', pid: processes.get('controller')!, counts: 'itself' },
    { name: 'catalog', pid: processes.get('controller')!, counts: 'below' },
  ];
  // As a user would: the wrapper on PATH, logged in through the environment that the fleet wrote.
  const cli = (...args: string[]) => ['sh', '-c', '. "$0/env"; exec holdfast "$@"', fleetDir, ...args];
  return {
    name: 'holdfast',
    async protect(label, source) {
      const added = await holdfast(fleetDir, [
        'source',
        'add',
        label,
        '--host',
        'bench-1',
        '--type',
        'files',
        '--path',
        source,
      ]);
      if (added.code !== 0) throw new Error(`holdfast source add: ${added.stderr}`);
    },
    backup: (label) => measure(cli('backup', `bench-1/${label}`, '--json'), subjects, dir),
    async restore(label, _source, target) {
      const cost = await measure(
        cli('restore', `bench-1/${label}`, '--to', `bench-1:${target}`, '--json'),
        subjects,
        dir,
      );
      return { cost, tree: target };
    },
    storedBytes: () => diskBytes(join(layout.controllerDir, 'vault')),
    close: async () => void (await fleetDown(fleetDir)),
  };
}

export function resticContender(dir: string): Contender {
  const repository = join(dir, 'restic');
  const password = secretFile(dir);
  rmSync(repository, { recursive: true, force: true });
  const restic = (...args: string[]) => [
    'restic',
    '-r',
    repository,
    '--password-file',
    password,
    '--no-cache',
    ...args,
  ];
  const cached = (...args: string[]) => [
    'restic',
    '-r',
    repository,
    '--password-file',
    password,
    '--cache-dir',
    `${repository}-cache`,
    ...args,
  ];
  rmSync(`${repository}-cache`, { recursive: true, force: true });
  run(restic('init', '--repository-version', '2'));
  return {
    name: 'restic',
    protect: async () => undefined,
    backup: (_label, source) => measure(cached('backup', '--quiet', source), [], dir),
    async restore(_label, source, target) {
      const cost = await measure(cached('restore', 'latest', '--path', source, '--target', target), [], dir);
      return { cost, tree: join(target, source) };
    },
    storedBytes: () => diskBytes(repository),
    close: async () => undefined,
  };
}

export function borgContender(dir: string): Contender {
  const repository = join(dir, 'borg');
  const password = secretFile(dir);
  rmSync(repository, { recursive: true, force: true });
  const borg = (...args: string[]) => [
    'env',
    `BORG_PASSCOMMAND=cat ${password}`,
    `BORG_BASE_DIR=${repository}-base`,
    'borg',
    ...args,
  ];
  rmSync(`${repository}-base`, { recursive: true, force: true });
  run(borg('init', '-e', 'repokey-blake2', repository));
  let archives = 0;
  const newest = new Map<string, string>();
  return {
    name: 'borg',
    protect: async () => undefined,
    backup(label, source) {
      const archive = `${label}-${++archives}`;
      newest.set(label, archive);
      return measure(borg('create', '--compression', 'zstd,1', `${repository}::${archive}`, source), [], dir);
    },
    async restore(label, source, target) {
      const cost = await measure(borg('extract', `${repository}::${newest.get(label)!}`), [], target);
      return { cost, tree: join(target, source) };
    },
    storedBytes: () => diskBytes(repository),
    close: async () => undefined,
  };
}

export function installed(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function secretFile(dir: string): string {
  const path = join(dir, 'bench-password');
  if (!existsSync(path)) {
    mkdirSync(dir, { recursive: true });
    writeFileSync(path, 'only for the bench', { mode: 0o600 });
  }
  return path;
}

function run(command: readonly string[]): void {
  execFileSync(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] });
}

export function diskBytes(path: string): number {
  return Number(execFileSync('du', ['-sb', path], { encoding: 'utf8' }).split('\t')[0]);
}
