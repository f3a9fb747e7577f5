import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { silentLog } from '@holdfast/shared/runtime/log';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import type { BackupJob, FilesSource, JobOutcome, FilesSpec } from '../../jobs/job.ts';
import { EMPTY_SUMMARY, outcomeOfError, outcomeOfReport } from '../../jobs/outcome.ts';
import type { SourceReport } from '../../link/control-wire.ts';
import { eventually } from '../../testing/eventually.ts';
import type { Guard } from '../engine.ts';
import { HEARD_AFTER_MS, protectContinuously } from './continuous-source.ts';
import { watchTree, type TreeWatcher, type WatchMessage } from './tree-watcher.ts';
import { watchBudget, WatchPool } from './watch-budget.ts';

const done: JobOutcome = outcomeOfReport({ summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 }, []);

function filesSource(paths: readonly string[], more: Partial<FilesSource> = {}): FilesSource {
  const rest = { excludes: [], includes: [], oneFileSystem: false, excludeCaches: false, scanEverySeconds: 0 };
  return { paths: paths.map(fromText), continuous: true, ...rest, ...more };
}

function spec(files: FilesSource): FilesSpec {
  const hooks = { before: [], after: [], timeoutSeconds: 0, requireBefore: false };
  return {
    sourceId: 's1',
    name: 'site',
    type: 'files',
    files,
    hooks,
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

describe('continuous source', () => {
  let clock: ManualClock;
  let reports: SourceReport[];
  let backups: BackupJob[];
  let outcome: () => Promise<JobOutcome>;
  let hear: (message: WatchMessage) => void;
  let watchers: number;
  let protection: Guard;

  const start = (files = filesSource(['/srv'])): void => {
    protection = protectContinuously(spec(files), {
      clock,
      random: () => 0.5,
      log: silentLog,
      pool: new WatchPool(100),
      watchTree: (_order, onMessage): TreeWatcher => {
        watchers++;
        hear = onMessage;
        return { stop: () => Promise.resolve(void watchers--) };
      },
      runBackup: (job) => {
        backups.push(job);
        return outcome();
      },
      report: (report) => void reports.push(report),
    });
  };
  const ready: WatchMessage = { kind: 'ready', directories: 10, unwatchable: [] };

  beforeEach(() => {
    clock = new ManualClock();
    reports = [];
    backups = [];
    watchers = 0;
    outcome = () => Promise.resolve(done);
  });
  afterEach(async () => {
    await protection.stop();
    expect(clock.pending, 'P4').to.equal(0);
    expect(watchers, 'P4').to.equal(0);
  });

  it('begins with a whole backup, then backs up what changed after a moment of quiet', async () => {
    start();
    hear(ready);
    await clock.advanceInTurns(5000);
    expect(backups.map((job) => job.changedPaths)).to.deep.equal([undefined]);
    expect(reports.at(-1)).to.deep.equal({ sourceId: 's1', watching: 'continuous', note: '' });
    hear({ kind: 'changes', paths: ['b', 'a/x'], directories: 10 });
    await clock.advanceInTurns(1500);
    hear({ kind: 'changes', paths: ['a'], directories: 10 });
    await clock.advanceInTurns(1500);
    expect(backups).to.have.length(1);
    await clock.advanceInTurns(1000);
    expect(backups.at(-1)?.changedPaths).to.deep.equal(['a', 'b']);
    const { changesUpToMs } = backups.at(-1)!;
    expect(clock.wallMs() - changesUpToMs!, 'what is not heard of yet is in the next one').to.be.at.least(
      HEARD_AFTER_MS,
    );
    await clock.advanceInTurns(86_400_000);
    expect(backups.filter((job) => job.changedPaths === undefined)).to.have.length(2);
  });

  it('does not wait for ever for a quiet that never comes', async () => {
    start();
    hear(ready);
    await clock.advanceInTurns(5000);
    for (let i = 0; i < 30; i++) {
      hear({ kind: 'changes', paths: ['log'], directories: 10 });
      await clock.advanceInTurns(1000);
    }
    // One at the start, and one for each MAX_WAIT_MS of the half minute.
    expect(backups.length).to.be.within(5, 6);
  });

  it('P1 scans on a schedule when it is over the budget, says so, and tries again a day later', async () => {
    start();
    hear({ kind: 'ended', why: 'over', note: '' });
    await clock.advanceInTurns(3000);
    expect(reports.at(-1)).to.deep.equal({
      sourceId: 's1',
      watching: 'scheduled',
      note: 'over the budget of 100 watches: it is scanned every 15 min instead',
    });
    expect(backups).to.have.length(1);
    await clock.advanceInTurns(3_600_000);
    expect(backups).to.have.length(5);
    expect(watchers).to.equal(0);
    await clock.advanceInTurns(86_400_000);
    expect(watchers).to.equal(1);
  });

  it('P1 falls back when the tree grows over the budget, or the watcher fails, while it watches', async () => {
    start();
    hear(ready);
    hear({ kind: 'changes', paths: ['a'], directories: 101 });
    expect(reports.at(-1)?.watching).to.equal('scheduled');
    await protection.stop();
    start(filesSource(['/srv'], { scanEverySeconds: 90 }));
    hear(ready);
    hear({ kind: 'ended', why: 'failed', note: 'ENOSPC' });
    expect(reports.at(-1)?.note).to.equal('the watcher failed (ENOSPC): it is scanned every 90 s instead');
  });

  it('P2 P3 runs one backup at a time and takes again what a failed one had', async () => {
    start();
    hear(ready);
    await clock.advanceInTurns(5000);
    const running = Promise.withResolvers<JobOutcome>();
    outcome = () => running.promise;
    hear({ kind: 'changes', paths: ['a'], directories: 10 });
    await clock.advanceInTurns(3000);
    hear({ kind: 'changes', paths: ['b'], directories: 10 });
    await clock.advanceInTurns(20_000);
    expect(backups).to.have.length(2);
    outcome = () => Promise.resolve(done);
    running.resolve(outcomeOfError(new HoldfastError('UNREACHABLE', 'no controller'), false, 0, []));
    await clock.advanceInTurns(0);
    expect(reports.at(-1)?.note).to.contain('no controller');
    await clock.advanceInTurns(60_000);
    expect(backups).to.have.length(3);
    expect(backups.at(-1)?.changedPaths).to.deep.equal(['a', 'b']);
    expect(reports.at(-1)?.note).to.equal('');
  });

  it('scans directories that cannot be watched because their names are not UTF-8', async () => {
    start();
    hear({ kind: 'ready', directories: 10, unwatchable: ['a/\xff'] });
    await clock.advanceInTurns(5000);
    expect(reports.at(-1)?.watching).to.equal('continuous');
    expect(reports.at(-1)?.note).to.contain('not UTF-8');
    await clock.advanceInTurns(900_000);
    expect(backups.at(-1)?.changedPaths).to.deep.equal(['a/\xff']);
  });

  it('U1 U2 shares a budget that is never more than half of what the kernel allows', () => {
    protection = { stop: () => Promise.resolve() };
    expect(watchBudget(10_000, 8192)).to.equal(4096);
    expect(watchBudget(10_000, 1_000_000)).to.equal(10_000);
    expect(watchBudget(10_000, undefined)).to.equal(4096);
    const pool = new WatchPool(100);
    expect(pool.hold('a', 60)).to.equal(true);
    expect(pool.hold('b', 41)).to.equal(false);
    expect(pool.allowance('b')).to.equal(40);
    expect(pool.hold('a', 50)).to.equal(true);
    expect(pool.hold('b', 50)).to.equal(true);
    pool.release('a');
    expect(pool.allowance('b')).to.equal(100);
  });
});

describe('tree watcher', () => {
  let root: string;
  let watcher: TreeWatcher;
  let messages: WatchMessage[];

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'holdfast-watch-'));
    messages = [];
  });
  afterEach(async () => {
    await watcher.stop();
    rmSync(root, { recursive: true });
  });
  const begin = async (files: FilesSource, maxDirectories = 100): Promise<void> => {
    watcher = watchTree({ files, maxDirectories }, (message) => messages.push(message));
    await eventually(() => messages.length > 0);
  };
  const changed = (path: string): boolean =>
    messages.some((message) => message.kind === 'changes' && message.paths.includes(path));

  it('tells of files, new trees, names that are not UTF-8, and nothing behind links or excluded (threats 24, 27)', async () => {
    mkdirSync(join(root, 'a/b'), { recursive: true });
    mkdirSync(join(root, 'node_modules/x'), { recursive: true });
    symlinkSync('..', join(root, 'a/loop'));
    mkdirSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff])]));
    await begin(filesSource([root], { excludes: ['node_modules'] }));
    expect(messages[0]).to.deep.equal({ kind: 'ready', directories: 3, unwatchable: ['\xff'] });

    writeFileSync(join(root, 'a/b/é'), 'x');
    await eventually(() => changed(fromText('a/b/é')));
    writeFileSync(Buffer.concat([Buffer.from(`${root}/a/`), Buffer.from([0xfe])]), 'x');
    await eventually(() => changed('a'));
    mkdirSync(join(root, 'new/deep'), { recursive: true });
    await eventually(() => changed('new'));
    writeFileSync(join(root, 'node_modules/x/file'), 'x');
    writeFileSync(join(root, 'last'), 'x');
    await eventually(() => changed('last'));
    const all = messages.flatMap((message) => (message.kind === 'changes' ? message.paths : []));
    expect(all.filter((path) => path.includes('node_modules') || path.includes('loop'))).to.deep.equal([]);
  });

  it('counts before it watches, and gives up over the budget', async () => {
    for (let i = 0; i < 20; i++) mkdirSync(join(root, `d${i}`));
    await begin(filesSource([root]), 10);
    expect(messages[0]).to.deep.include({ kind: 'ended', why: 'over' });
  });

  it('gives up when the tree grows over the budget', async () => {
    await begin(filesSource([root]), 10);
    for (let i = 0; i < 20; i++) mkdirSync(join(root, `d${i}`));
    await eventually(() => messages.at(-1)?.kind === 'ended');
  });

  it('keeps the full paths of several roots', async () => {
    mkdirSync(join(root, 'one'));
    mkdirSync(join(root, 'two'));
    await begin(filesSource([join(root, 'one'), join(root, 'two')]));
    writeFileSync(join(root, 'two/file'), 'x');
    await eventually(() => changed(fromText(join(root, 'two/file').slice(1))));
  });

  it('names what changes beneath several roots as the walk does, and applies rules to what the walk applies them to', async () => {
    for (const name of ['one/keep', 'two']) mkdirSync(join(root, name), { recursive: true });
    // `/keep` is a directory of the file system's root: not the one in the first root.
    await begin(filesSource([`${root}//one/`, `${root}/./two/`], { excludes: ['/keep'] }));
    writeFileSync(join(root, 'one/keep/file'), 'x');
    await eventually(() => changed(fromText(join(root, 'one/keep/file').slice(1))));
    writeFileSync(join(root, 'two/file'), 'x');
    await eventually(() => changed(fromText(join(root, 'two/file').slice(1))));
  });

  it('says that a root that is not there cannot be watched', async () => {
    await begin(filesSource([join(root, 'none')]));
    expect(messages[0]).to.deep.include({ kind: 'ended', why: 'failed' });
  });
});
