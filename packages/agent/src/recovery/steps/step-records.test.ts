import { spawn } from 'node:child_process';
import { existsSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { bootId, identityOf } from './process-identity.ts';
import { StepRecords, type StepRecord } from './step-records.ts';

const DAY_MS = 24 * 3_600_000;

describe('execution records', () => {
  let stateDir: string;
  let records: StepRecords;
  beforeEach(() => {
    stateDir = scratchDirectory();
    records = new StepRecords(stateDir);
  });
  afterEach(() => removeScratchDirectories());

  const record = (more: Partial<StepRecord> = {}): StepRecord => ({
    application: 'shop',
    step: 'migrate',
    attempt: 1,
    action: 'apply',
    state: 'begun',
    bootId: bootId(),
    startedAtMs: 0,
    endsBySinceBootMs: 0,
    memory: {},
    ...more,
  });
  const age = (run: string, atMs: number): void => utimesSync(join(stateDir, 'steps', run), atMs / 1000, atMs / 1000);

  it('E1 what was written is read by the next process, and by nobody else', () => {
    records.write('run', record({ memory: { before: '192.0.2.1' } }), Date.now());
    expect(new StepRecords(stateDir).read('run', 'migrate')).to.deep.equal(record({ memory: { before: '192.0.2.1' } }));
    expect(statSync(join(stateDir, 'steps', 'run')).mode & 0o777).to.equal(0o700);
    expect(records.read('run', 'other')).to.equal(undefined);
  });

  it('E2 runs go when they are long over, or too many came after; not while something of them is alive', async () => {
    const program = spawn('sleep', ['60'], { stdio: 'ignore' });
    const gone = new Promise((resolve) => program.once('exit', resolve));
    try {
      const now = Date.now();
      records.write('old', record(), now);
      records.write('alive', record({ process: identityOf(program.pid ?? 0) }), now);
      for (const run of ['old', 'alive']) age(run, now - 31 * DAY_MS);
      records.write('new', record(), now);
      expect(['old', 'alive', 'new'].map((run) => existsSync(join(stateDir, 'steps', run)))).to.deep.equal([
        false,
        true,
        true,
      ]);
      for (let count = 0; count < 64; count++) {
        records.write(`run-${count}`, record(), now);
        age(`run-${count}`, now - DAY_MS + count * 1000);
      }
      const kept = Array.from({ length: 64 }, (_, count) => records.read(`run-${count}`, 'migrate') !== undefined);
      expect(kept.indexOf(true)).to.be.within(1, 3);
      expect(kept.lastIndexOf(false)).to.be.lessThan(3);
      expect(records.read('alive', 'migrate')).not.to.equal(undefined);
    } finally {
      program.kill('SIGKILL');
      await gone;
    }
  });

  it('E3 a damaged record, or one that is too large, is an error; and no step remembers more than 64 KiB', () => {
    records.write('run', record(), Date.now());
    for (const text of ['', '{"attempt":1}', 'x'.repeat(300_000)]) {
      writeFileSync(join(stateDir, 'steps', 'run', 'migrate.json'), text);
      expectError(() => records.read('run', 'migrate'), 'DAMAGED');
    }
    const memory = { before: 'x'.repeat(70_000) };
    expectError(() => records.write('run', record({ memory }), Date.now()), 'LIMIT_EXCEEDED');
  });
});
