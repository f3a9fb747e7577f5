// The engine of MariaDB and MySQL servers: a dump or a copy of the files as the base, the binary log from there on.

import type { EngineSpec } from '../../jobs/job.ts';
import type { Guard, SourceEngine } from '../engine.ts';
import { LogGuard } from './follow/log-guard.ts';
import { SETTING_RULES } from './settings.ts';

export function newMariaDbEngine(): SourceEngine<EngineSpec> {
  return {
    type: 'mariadb',
    settings: SETTING_RULES,
    discover: async (deps) => (await import('./look/discover.ts')).discoverServers(deps),
    check: async (source, deps) => (await import('./look/check.ts')).checkServer(source, deps),
    base: async (...job) => (await import('./base.ts')).makeBase(...job),
    restore: async (...job) => (await import('./restore/restore-job.ts')).restoreJob(...job),
    verify: async (...job) => (await import('./restore/restore-test.ts')).runMariadbVerify(...job),
    log(source, deps): Guard {
      const guard = new LogGuard(source, { ...deps, logs: deps.vault });
      guard.start();
      return { stop: () => guard.stop() };
    },
  };
}
