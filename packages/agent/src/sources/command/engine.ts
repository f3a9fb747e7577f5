// The engine of commands: the standard output of a program, as one file. For whatever no other engine knows.

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { EngineSpec, Finding, Settings } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { fileSnapshots } from '../file-snapshots.ts';
import { backUpEvery } from '../rhythm.ts';
import { commandOf, durationMsOf, rhythmFindings, settingFindings } from '../setting-values.ts';
import { trustFinding } from './trusted-program.ts';

const SETTINGS: readonly SettingRule[] = [
  { name: 'run', meaning: 'the program and its arguments, a JSON list (--run word --run word)', required: true },
  { name: 'file', meaning: 'what its output is called in the snapshot', required: false, fallback: 'output' },
  { name: 'timeout', meaning: 'how long it may run', required: false, fallback: '6h' },
  { name: 'every', meaning: 'how often it is run', required: false, fallback: '24h' },
];

/** What the producer's thread is given. */
export interface CommandOrder {
  readonly command: readonly [string, ...string[]];
  readonly file: string;
  readonly timeoutMs: number;
}

export const commandEngine: SourceEngine<EngineSpec> = {
  type: 'command',
  settings: SETTINGS,
  discover: () => Promise.resolve([]),
  check: ({ engine: { settings } }) => Promise.resolve(findings(settings)),
  async base(job, deps, signal, onProgress) {
    const { runSnapshot } = await import('../../backup/producer/run-snapshot.ts');
    const data = orderOf(job.source.engine.settings);
    const module = siblingModule(import.meta.url, './command-producer');
    return runSnapshot(job, deps, signal, onProgress, { module, data, sourceType: 'command' });
  },
  log: (source, deps) => backUpEvery(source, durationMsOf('every', source.engine.settings['every'] ?? '24h'), deps),
  ...fileSnapshots,
};

/** Throws INVALID_ARGUMENT. */
function orderOf(settings: Settings): CommandOrder {
  const { run = '', file = 'output', timeout = '6h' } = settings;
  if (!/^[\w.-]{1,200}$/.test(file) || file === '.' || file === '..') {
    throw new HoldfastError('INVALID_ARGUMENT', `file=${file} is no name of a file`, {
      hint: 'Use letters, digits, dots and dashes.',
    });
  }
  return { command: commandOf('run', run), file, timeoutMs: durationMsOf('timeout', timeout) };
}

function findings(settings: Settings): Finding[] {
  const wrong = [...settingFindings(SETTINGS, settings), ...rhythmFindings(settings)];
  if (wrong.length > 0) return wrong;
  try {
    return [trustFinding(orderOf(settings).command[0])];
  } catch (error) {
    const { message, hint } = error as HoldfastError;
    return [{ level: 'error', subject: 'settings', message, remedy: hint }];
  }
}
