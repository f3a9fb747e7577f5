import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fromText } from '@holdfast/shared/base/byte-string';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import type { FilesSpec } from '../../jobs/job.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { newFileEngine } from './engine.ts';

/** Names, modes, contents and links of everything below. */
function fingerprintOf(root: string): string {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true }).map((entry) => {
    const path = join(entry.parentPath, entry.name);
    const content = entry.isFile() ? readFileSync(path) : entry.isSymbolicLink() ? readlinkSync(path) : '';
    const hash = createHash('sha256').update(content).digest('hex');
    return `${relative(root, path)} ${lstatSync(path).mode} ${hash}`;
  });
  return entries.toSorted().join('\n');
}

function sourceOf(path: string): FilesSpec {
  return {
    type: 'files',
    sourceId: 'site',
    name: 'site',
    files: {
      paths: [fromText(path)],
      excludes: [],
      includes: [],
      oneFileSystem: false,
      excludeCaches: false,
      continuous: false,
      scanEverySeconds: 0,
    },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

async function openRig(): Promise<EngineRig> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-files-rig-'));
  const site = join(directory, 'site');
  mkdirSync(join(site, 'deep/empty'), { recursive: true });
  for (let i = 0; i < 300; i++) writeFileSync(join(site, `deep/${i}`), seededBytes(`file ${i}`, i * 100));
  writeFileSync(join(site, 'large'), seededBytes('large', 5_000_000));
  chmodSync(join(site, 'large'), 0o600);
  symlinkSync('deep/7', join(site, 'link'));
  let changes = 0;
  return {
    engine: newFileEngine(100),
    source: sourceOf(site),
    broken: sourceOf(join(directory, 'nowhere')),
    target: (name) => join(directory, name),
    change: async () => writeFileSync(join(site, `deep/${++changes}`), `changed ${changes}`),
    fingerprint: async () => fingerprintOf(site),
    restored: async (target) => fingerprintOf(target),
    close: async () => rmSync(directory, { recursive: true }),
  };
}

engineConformance('file trees', openRig, { discoverable: true });
