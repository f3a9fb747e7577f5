// The engine of blueprints: what a server is, section by section, as files of a snapshot.

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { EngineSpec, Finding, Settings } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { fileSnapshots } from '../file-snapshots.ts';
import { backUpEvery } from '../rhythm.ts';
import { durationMsOf, rhythmFindings, settingFindings } from '../setting-values.ts';
import { hostFiles } from './host-files.ts';

const SETTINGS: readonly SettingRule[] = [
  { name: 'every', meaning: 'how often it is taken', required: false, fallback: '24h' },
];

/** @param root '/', or a directory of samples in tests */
export function newBlueprintEngine(root = '/'): SourceEngine<EngineSpec> {
  return {
    type: 'blueprint',
    settings: SETTINGS,
    discover: () =>
      Promise.resolve([
        {
          type: 'blueprint',
          name: 'blueprint',
          settings: {},
          description: 'What this server is: packages, users, units, network and more',
          command: 'holdfast source add blueprint --host HOST --type blueprint',
        },
      ]),
    check: ({ engine: { settings } }) =>
      Promise.resolve([...settingFindings(SETTINGS, settings), ...rhythmFindings(settings), ...rightsFindings(root)]),
    async base(job, deps, signal, onProgress) {
      everyMsOf(job.source.engine.settings);
      const { runSnapshot } = await import('../../backup/producer/run-snapshot.ts');
      const module = siblingModule(import.meta.url, './blueprint-producer');
      return runSnapshot(job, deps, signal, onProgress, { module, data: root, sourceType: 'blueprint' });
    },
    log: (source, deps) => backUpEvery(source, everyMsOf(source.engine.settings), deps),
    ...fileSnapshots,
  };
}

/** Throws INVALID_ARGUMENT. */
function everyMsOf(settings: Settings): number {
  return durationMsOf('every', settings['every'] ?? '24h');
}

function rightsFindings(root: string): Finding[] {
  if (hostFiles(root).text('etc/shadow') !== undefined) {
    return [{ level: 'ok', subject: 'rights', message: 'everything that a blueprint holds can be read', remedy: '' }];
  }
  return [
    {
      level: 'warning',
      subject: 'rights',
      message: 'the agent is not root: programs behind sockets, cron tables of users and the firewall stay unknown',
      remedy: 'Run the agent as root.',
    },
  ];
}
