// The engine of disk images, raw and qcow2: the file as it is, byte for byte, stored by its changed pages.
//
// What a guest has not written to its disk yet is not in the image: that is said by check, and by a warning on the snapshot.

import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { fromText } from '@holdfast/shared/base/byte-string';
import type { EngineSpec } from '../../jobs/job.ts';
import type { SettingRule, SourceEngine } from '../engine.ts';
import { fileSnapshots } from '../file-snapshots.ts';
import { backUpEvery } from '../rhythm.ts';
import { durationMsOf, rhythmFindings, settingFindings } from '../setting-values.ts';
import { imageFindings, imagesOnHost } from './look.ts';

const SETTINGS: readonly SettingRule[] = [
  { name: 'path', meaning: 'the image, a file', required: true },
  { name: 'every', meaning: 'how often it is backed up', required: false, fallback: '24h' },
];

export const imageEngine: SourceEngine<EngineSpec> = {
  type: 'image',
  settings: SETTINGS,
  discover: () => Promise.resolve(imagesOnHost()),
  check({ engine: { settings } }) {
    const wrong = [...settingFindings(SETTINGS, settings), ...rhythmFindings(settings)];
    return Promise.resolve(wrong.length > 0 ? wrong : imageFindings(settings['path'] ?? ''));
  },
  async base(job, deps, signal, onProgress) {
    const { runSnapshot } = await import('../../backup/producer/run-snapshot.ts');
    const data = fromText(job.source.engine.settings['path'] ?? '');
    const module = siblingModule(import.meta.url, './image-producer');
    return runSnapshot(job, deps, signal, onProgress, { module, data, sourceType: 'image' });
  },
  log: (source, deps) => backUpEvery(source, durationMsOf('every', source.engine.settings['every'] ?? '24h'), deps),
  ...fileSnapshots,
};
