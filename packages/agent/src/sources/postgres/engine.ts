// The engine of PostgreSQL: bases by the replication protocol, the log followed as it is written, any point in time restored.

import type { EngineSpec } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { addressOf, applicationNameOf, connect } from './connection.ts';
import { guardLog } from './log/guard.ts';
import type { ServerAccess } from './log/slot-watch.ts';
import { logSettings, SETTINGS } from './settings.ts';

export const postgresEngine: SourceEngine<EngineSpec> = {
  type: 'postgres',
  settings: SETTINGS satisfies readonly SettingRule[],
  discover: async (deps) => (await import('./discover.ts')).discoverServers(deps),
  check: async (source, deps) => (await import('./check.ts')).checkServer(source, deps),
  base: async (...job) => (await import('./base/base.ts')).runBase(...job),
  log: (source, deps) =>
    guardLog(source, {
      ...deps,
      logs: deps.vault,
      access: accessOf(source),
      settings: logSettings(source.engine.settings),
    }),
  restore: async (...job) => (await import('./restore/restore.ts')).runPostgresRestore(...job),
  verify: async (...job) => (await import('./restore/verify.ts')).runPostgresVerify(...job),
};

function accessOf(source: EngineSpec): ServerAccess {
  const address = addressOf(source.engine.settings);
  const applicationName = applicationNameOf(source.sourceId);
  return {
    applicationName,
    local: address.host.startsWith('/'),
    connect: (kind) => connect(address, { kind, applicationName }),
  };
}
