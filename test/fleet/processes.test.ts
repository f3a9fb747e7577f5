import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { endProcess, recordedProcess, runs, signal, spawnRecorded, type ProcessRecord } from './processes.ts';

describe('recorded processes', () => {
  let dir: string;
  let record: ProcessRecord;
  const runFile = () => join(dir, 'run', 'it.json');

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-processes-'));
    const script = 'process.on("SIGTERM", () => {}); console.log("here"); setInterval(() => {}, 1000)';
    const options = {
      command: process.execPath,
      args: ['-e', script],
      env: {},
      cwd: '/',
      logFile: join(dir, 'log'),
      runFile: runFile(),
    };
    record = spawnRecorded(options);
  });
  afterEach(async () => {
    await endProcess(record, 'SIGKILL', 5000);
    rmSync(dir, { recursive: true });
  });

  it('are found again by whoever has the file', () => {
    expect(recordedProcess(runFile())).to.deep.equal(record);
    expect(recordedProcess(join(dir, 'none.json'))).to.equal(undefined);
  });

  it('a pid that belongs to another process by now, or to another boot, is never signalled', () => {
    for (const other of [
      { ...record, startTicks: record.startTicks - 1 },
      { ...record, bootId: 'another' },
    ]) {
      writeFileSync(runFile(), JSON.stringify(other));
      expect(recordedProcess(runFile())).to.equal(undefined);
      expect(signal(other, 'SIGKILL')).to.equal(false);
    }
    expect(runs(record)).to.equal(true);
  });

  it('one that ignores SIGTERM is killed after its time', async () => {
    while (!readFileSync(join(dir, 'log'), 'utf8').includes('here'))
      await new Promise((resolve) => setTimeout(resolve, 20));
    await endProcess(record, 'SIGTERM', 200);
    expect(runs(record)).to.equal(false);
    expect(recordedProcess(runFile())).to.equal(undefined);
  });
});
