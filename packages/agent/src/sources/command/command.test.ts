import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { EngineSpec } from '../../jobs/job.ts';
import { EngineBench } from '../../testing/engine-bench.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { commandEngine } from './engine.ts';

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function sourceOf(run: readonly string[], more: Record<string, string> = {}): EngineSpec {
  return {
    sourceId: 'command-1',
    name: 'dump',
    type: 'engine',
    engine: { type: 'command', settings: { run: JSON.stringify(run), every: 'off', ...more } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

engineConformance(
  'commands',
  async (): Promise<EngineRig> => {
    const directory = mkdtempSync(join(tmpdir(), 'hf-command-'));
    const content = join(directory, 'content');
    const lines = Array.from({ length: 50_000 }, (_, i) => `line ${i} ${(i * 2_654_435_761) % 4_294_967_296}`);
    writeFileSync(content, lines.join('\n'));
    return {
      engine: commandEngine,
      source: sourceOf(['/bin/cat', content]),
      broken: sourceOf(['/bin/no-such-program']),
      target: (name) => join(directory, name),
      async change() {
        lines[25_000] = 'changed';
        writeFileSync(content, lines.join('\n'));
      },
      fingerprint: async () => sha256(content),
      restored: async (target) => sha256(join(target, 'output')),
      close: async () => rmSync(directory, { recursive: true }),
    };
  },
  { discoverable: false },
);

describe('command engine', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'hf-command-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  const script = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const backUp = async (run: string, more: Record<string, string> = {}) => {
    const source = sourceOf([run], more);
    const bench = new EngineBench({ engine: commandEngine, source });
    try {
      return await bench.base().then(
        ({ report }) => ({ report, error: undefined }),
        (error: unknown) => ({ report: undefined, error }),
      );
    } finally {
      expect(bench.vault.snapshots.length).to.be.at.most(1);
      await bench.close();
    }
  };

  it('a dump that breaks off with an exit code makes no snapshot, and says what the program said', async () => {
    const { error } = await backUp(script('fails', 'echo half a dump; echo the disk is gone >&2; exit 3'));
    expect(error).to.have.property('code', 'FAILED_PRECONDITION');
    expect(error).to.have.property('message').that.contains('exit code 3').and.contains('the disk is gone');
  });

  it('a program that runs too long is ended with all that it started', async () => {
    const { error } = await backUp(script('hangs', 'sleep 1000 & echo $! > ' + directory + '/pid; wait'), {
      timeout: '300ms',
    });
    expect(error).to.have.property('message').that.contains('was ended after');
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
    expect(() => process.kill(pid, 0)).to.throw();
  });

  it('a warning on standard error does not spoil the snapshot, and is kept with it', async () => {
    const { report } = await backUp(script('warns', 'echo a table was locked >&2; echo dump'));
    expect(report!.summary.bytesTotal).to.equal(5);
    expect(report!.warnings[0]).to.include({ code: 'command', message: 'a table was locked' });
  });

  it('a file name that leads elsewhere, and a program that everybody may write, are refused', async () => {
    expect((await backUp('/bin/true', { file: '../x' })).error).to.have.property('code', 'INVALID_ARGUMENT');
    const open = script('open', 'true');
    chmodSync(open, 0o777);
    expect((await backUp(open)).error)
      .to.have.property('message')
      .that.contains('changed by everybody');
  });
});
