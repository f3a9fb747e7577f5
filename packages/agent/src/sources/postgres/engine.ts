// The engine of PostgreSQL: bases by the replication protocol, the log followed as it is written, any point in time restored.

import type { EngineSpec, Settings } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { addressOf, applicationNameOf, connect } from './connection.ts';
import { guardLog } from './log/guard.ts';
import { slotKeyOf, takeBackSlot } from './log/own-slot.ts';
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
      access: accessOf(source.sourceId, source.engine.settings),
      settings: logSettings(source.engine.settings),
    }),
  heldElsewhere: {
    keyOf: ({ sourceId, engine }) => slotKeyOf(sourceId, engine.settings),
    takeBack: (held, clock) => takeBackSlot(held, accessOf(held.sourceId, held.settings), clock),
  },
  contentCheck: async (...job) => (await import('./restore/manifest-check.ts')).manifestCheck(...job),
  restore: async (...job) => (await import('./restore/restore.ts')).runPostgresRestore(...job),
  verify: async (...job) => (await import('./restore/verify.ts')).runPostgresVerify(...job),
};

function accessOf(sourceId: string, settings: Settings): ServerAccess {
  const address = addressOf(settings);
  const applicationName = applicationNameOf(sourceId);
  return {
    applicationName,
    local: address.host.startsWith('/'),
    connect: (kind) => connect(address, { kind, applicationName }),
  };
}
