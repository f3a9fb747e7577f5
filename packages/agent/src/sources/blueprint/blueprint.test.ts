import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeSection, encodeSection, SECTIONS, sectionPath } from '@holdfast/shared/blueprint/blueprint';
import type { EngineSpec } from '../../jobs/job.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { collectBlueprint } from './collect.ts';
import { newBlueprintEngine } from './engine.ts';
import { hostFiles } from './host-files.ts';

function sourceOf(settings: Record<string, string>): EngineSpec {
  return {
    sourceId: 'blueprint-1',
    name: 'blueprint',
    type: 'engine',
    engine: { type: 'blueprint', settings },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

engineConformance(
  'blueprints',
  async (): Promise<EngineRig> => {
    const directory = mkdtempSync(join(tmpdir(), 'hf-blueprint-'));
    const root = join(directory, 'root');
    for (const path of ['etc/cron.d', 'var/lib/dpkg']) mkdirSync(join(root, path), { recursive: true });
    for (const path of ['etc/passwd', 'etc/group', 'etc/os-release', 'var/lib/dpkg/status']) {
      copyFileSync(join('/', path), join(root, path));
    }
    return {
      engine: newBlueprintEngine(root),
      source: sourceOf({ every: 'off' }),
      broken: sourceOf({ every: 'often' }),
      target: (name) => join(directory, name),
      change: async () => writeFileSync(join(root, 'etc/cron.d/new'), '# nothing\n'),
      async fingerprint() {
        const hash = createHash('sha256');
        for await (const [, section] of collectBlueprint(new AbortController().signal, hostFiles(root))) {
          hash.update(encodeSection(section));
        }
        return hash.digest('hex');
      },
      async restored(target) {
        const hash = createHash('sha256');
        for (const name of SECTIONS) {
          const bytes = readFileSync(join(target, sectionPath(name)));
          hash.update(encodeSection(decodeSection(bytes)));
        }
        return hash.digest('hex');
      },
      close: async () => rmSync(directory, { recursive: true }),
    };
  },
  { discoverable: true },
);
