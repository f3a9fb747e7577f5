// The engine of SQLite databases: a consistent copy while programs go on writing, stored by its changed pages.
//
// Node's own SQLite is enough: it is SQLite's backup interface, no program has to be installed, and it reads every format that
// SQLite 3 ever wrote. What it can't do is stop in the middle of its one step: a cancelled backup ends with the step.

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { EngineSpec } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { fileSnapshots } from '../file-snapshots.ts';
import { backUpEvery } from '../rhythm.ts';
import { durationMsOf, rhythmFindings, settingFindings } from '../setting-values.ts';

const SETTINGS: readonly SettingRule[] = [
  { name: 'path', meaning: 'the database, a file', required: true },
  { name: 'every', meaning: 'how often it is backed up', required: false, fallback: '24h' },
];

export const sqliteEngine: SourceEngine<EngineSpec> = {
  type: 'sqlite',
  settings: SETTINGS,
  discover: async () => (await import('./look.ts')).databasesOnHost(),
  async check({ engine: { settings } }) {
    const wrong = [...settingFindings(SETTINGS, settings), ...rhythmFindings(settings)];
    return wrong.length > 0 ? wrong : (await import('./look.ts')).databaseFindings(settings['path'] ?? '');
  },
  async base(job, deps, signal, onProgress) {
    const { runSnapshot } = await import('../../backup/producer/run-snapshot.ts');
    const data = job.source.engine.settings['path'] ?? '';
    const module = siblingModule(import.meta.url, './sqlite-producer');
    return runSnapshot(job, deps, signal, onProgress, { module, data, sourceType: 'sqlite' });
  },
  log: (source, deps) => backUpEvery(source, durationMsOf('every', source.engine.settings['every'] ?? '24h'), deps),
  ...fileSnapshots,
};
