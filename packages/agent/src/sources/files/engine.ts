// The engine of file trees: the walk, the restore pipeline, the watcher, and proposals of what is worth protecting.

import { accessSync, constants, readdirSync, statSync } from 'node:fs';
import { displayPath, toBytes } from '@holdfast/shared/base/byte-string';
import type { DiscoveredSource, FilesSpec, Finding } from '../../jobs/job.ts';
import type { Guard, SourceEngine } from '../engine.ts';
import { protectContinuously } from './continuous-source.ts';
import { watchTree } from './tree-watcher.ts';
import { kernelWatchLimit, WatchPool, watchBudget } from './watch-budget.ts';

/** @param budget directories watched at most, all sources of the agent together */
export function newFileEngine(budget: number): SourceEngine<FilesSpec> {
  const pool = new WatchPool(watchBudget(budget, kernelWatchLimit()));
  return {
    type: 'files',
    settings: [],
    discover: () => Promise.resolve(proposals()),
    check: (source) => Promise.resolve(source.files.paths.map(findingOf)),
    base: async (...job) => (await import('../../backup/backup.ts')).runBackup(...job),
    restore: async (...job) => (await import('../../restore/restore.ts')).runRestore(...job),
    verify: async (...job) => (await import('../../restore/restore.ts')).runVerify(...job),
    log(source, deps): Guard | undefined {
      return source.files.continuous ? protectContinuously(source, { ...deps, pool, watchTree }) : undefined;
    },
  };
}

/** What servers usually hold that no package brings back. */
const WORTH_PROTECTING = [
  { path: '/etc', name: 'etc', what: 'the configuration of this system' },
  { path: '/var/www', name: 'www', what: 'web sites' },
  { path: '/srv', name: 'srv', what: 'data of services' },
  { path: '/home', name: 'home', what: 'homes' },
  { path: '/root', name: 'root', what: "the administrator's home" },
  { path: '/opt', name: 'opt', what: 'programs that no package brought' },
  { path: '/var/mail', name: 'mail', what: 'mailboxes' },
  { path: '/var/vmail', name: 'vmail', what: 'mailboxes' },
  { path: '/var/spool/cron', name: 'cron', what: "users' cron tables" },
  { path: '/var/lib/docker/volumes', name: 'volumes', what: "containers' volumes" },
] as const;

function proposals(): DiscoveredSource[] {
  return WORTH_PROTECTING.filter(({ path }) => hasEntries(path)).map(({ path, name, what }) => ({
    type: 'files',
    name,
    settings: { path },
    description: `${what} (${path})`,
    command: `holdfast source add ${name} --host HOST --path ${path}`,
  }));
}

function hasEntries(path: string): boolean {
  try {
    return readdirSync(path).length > 0;
  } catch {
    return false;
  }
}

function findingOf(path: string): Finding {
  const shown = displayPath(path);
  const bytes = toBytes(path);
  try {
    const what = statSync(bytes);
    accessSync(bytes, what.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK);
    return { level: 'ok', subject: shown, message: 'is there and can be read', remedy: '' };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return missing
      ? { level: 'error', subject: shown, message: 'is not there', remedy: `mkdir -p ${shown}` }
      : {
          level: 'error',
          subject: shown,
          message: 'cannot be read by the agent',
          remedy: 'Run the agent as root, or give its user the right to read it.',
        };
  }
}
