// The engine of Redis: the whole database as dump.rdb, taken as a replica takes it. There is no log that could be followed
// without becoming a replica for good, so what is lost at most is what came after the newest snapshot.

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { EngineSpec } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { fileSnapshots } from '../file-snapshots.ts';
import { backUpEvery } from '../rhythm.ts';
import { durationMsOf, rhythmFindings, settingFindings } from '../setting-values.ts';
import { parseDsn } from './dsn.ts';
import { runningServers, serverFindings } from './look.ts';

const SETTINGS: readonly SettingRule[] = [
  { name: 'dsn', meaning: 'socket=… or host=… port=…, user=…, passfile=…, tls=on', required: true },
  { name: 'every', meaning: 'how often it is backed up', required: false, fallback: '24h' },
];

export const redisEngine: SourceEngine<EngineSpec> = {
  type: 'redis',
  settings: SETTINGS,
  discover: () => Promise.resolve(runningServers()),
  async check({ engine: { settings } }, deps) {
    const wrong = [...settingFindings(SETTINGS, settings), ...rhythmFindings(settings)];
    return wrong.length > 0 ? wrong : serverFindings(settings['dsn'] ?? '', deps);
  },
  async base(job, deps, signal, onProgress) {
    const { runSnapshot } = await import('../../backup/producer/run-snapshot.ts');
    const dsn = job.source.engine.settings['dsn'] ?? '';
    parseDsn(dsn);
    const module = siblingModule(import.meta.url, './redis-producer');
    return runSnapshot(job, deps, signal, onProgress, { module, data: dsn, sourceType: 'redis' });
  },
  log: (source, deps) => backUpEvery(source, durationMsOf('every', source.engine.settings['every'] ?? '24h'), deps),
  ...fileSnapshots,
};
