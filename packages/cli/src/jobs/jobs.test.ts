import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  DeepPartial,
  JobEvent,
  OperatorServiceImplementation,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { startFakeController, type FakeController } from '../testing/fake-controller.ts';
import { runCli, type CliOptions } from '../testing/run-cli.ts';

const snapshotId = Buffer.from('ab'.repeat(32), 'hex');

function outcome(fields: DeepPartial<JobOutcome>): DeepPartial<JobEvent> {
  const summary = {
    snapshotId,
    entries: 12n,
    files: 10n,
    filesChanged: 3n,
    bytesTotal: 1_048_576n,
    bytesRead: 4096n,
    bytesNew: 2048n,
    bytesStored: 1024n,
    durationMs: 1500n,
    partial: false,
  };
  return { kind: { $case: 'outcome', value: { result: 'done', summary, ...fields } } };
}

const progress: DeepPartial<JobEvent> = {
  kind: {
    $case: 'progress',
    value: { phase: 'upload', filesDone: 3n, bytesDone: 4096n, bytesTotal: 8192n, currentPath: 'a/b' },
  },
};

/** A controller whose one job gives these events. */
function jobAnswers(events: readonly DeepPartial<JobEvent>[]): Partial<OperatorServiceImplementation> {
  const started = { jobId: 'job-1', snapshotId };
  return {
    startBackup: () => Promise.resolve(started),
    startRestore: () => Promise.resolve(started),
    startVerify: () => Promise.resolve(started),
    watchJob: async function* watch() {
      yield* events;
    },
  };
}

let controller: FakeController | undefined;

async function withJob(
  args: readonly string[],
  events: readonly DeepPartial<JobEvent>[],
  more: Partial<OperatorServiceImplementation> = {},
  options: Partial<CliOptions> = {},
) {
  controller = await startFakeController({ ...jobAnswers(events), ...more });
  const result = await runCli(args, { address: controller.address, ...options });
  const lines = result.stdout.trimEnd().split('\n');
  return { ...result, lines, last: () => JSON.parse(lines.at(-1) ?? '') as unknown };
}

describe('jobs from the command line', () => {
  afterEach(() => {
    controller?.stop();
    controller = undefined;
  });

  it('backup --json ends with the summary as its last line', async () => {
    const { code, last, lines, stderr } = await withJob(['backup', 'web-1/site', '--json'], [progress, outcome({})]);
    expect(code).to.equal(0);
    expect(stderr).to.equal('');
    expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).to.deep.equal([
      'started',
      'progress',
      'summary',
    ]);
    expect(last()).to.deep.equal({
      event: 'summary',
      kind: 'backup',
      result: 'done',
      source: 'web-1/site',
      snapshot: 'ab'.repeat(32),
      job: 'job-1',
      entries: 12,
      files: 10,
      filesChanged: 3,
      bytesTotal: 1_048_576,
      bytesRead: 4096,
      bytesNew: 2048,
      bytesStored: 1024,
      seconds: 1.5,
      partial: false,
      warnings: [],
      warningsTotal: 0,
    });
  });

  it('backup says in words what it read, what was new and what was stored', async () => {
    const { code, stdout, stderr } = await withJob(['backup', 'web-1/site'], [progress, outcome({})]);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.equal(
      'web-1/site: snapshot abababababab, 10 files, 1.00 MiB\n  read 4.00 KiB, new 2.00 KiB, stored 1.00 KiB, in 1.5 s\n',
    );
  });

  it('backup with warnings exits with 3 and names the paths, bytes that are not text as well', async () => {
    const warnings = [
      { code: 'changed-while-read', path: Buffer.from('log/app.log'), message: 'changed while it was read' },
      { code: 'unreadable', path: Buffer.from([0x61, 0xff, 0x0a]), message: '' },
    ];
    const events = [outcome({ result: 'warnings', warnings, warningsTotal: 30n })];
    const words = await withJob(['backup', 'web-1/site'], events);
    expect(words.code).to.equal(3);
    expect(words.stdout).to.contain('30 warnings:\n    log/app.log: changed while it was read (changed-while-read)\n');
    expect(words.stdout).to.contain('    a\\xff\\x0a: unreadable\n    … and 28 more\n');
    controller?.stop();
    const { code, last } = await withJob(['backup', 'web-1/site', '--json'], events);
    expect(code).to.equal(3);
    expect(last()).to.deep.include({
      result: 'warnings',
      warningsTotal: 30,
      warnings: [
        { code: 'changed-while-read', path: 'log/app.log', message: 'changed while it was read' },
        { code: 'unreadable', path: 'a\\xff\\x0a', pathBytes: 'Yf8K', message: '' },
      ],
    });
  });

  it('a partial snapshot exits with 3', async () => {
    const { code } = await withJob(['backup', 'web-1/site'], [outcome({ summary: { snapshotId, partial: true } })]);
    expect(code).to.equal(3);
  });

  it('a failed job gives its own error, its exit code, and a summary for programs', async () => {
    const failure = { errorCode: 'NOT_FOUND', errorMessage: '/srv/site is not there', errorHint: 'Mount it.' };
    const events = [outcome({ result: 'failed', ...failure })];
    const words = await withJob(['backup', 'web-1/site'], events);
    expect(words).to.include({ code: 10, stdout: '', stderr: 'holdfast: /srv/site is not there\n  Mount it.\n' });
    controller?.stop();
    const { code, last, lines } = await withJob(['backup', 'web-1/site', '--json'], events);
    expect(code).to.equal(10);
    expect(lines).to.have.length(2);
    expect(last()).to.deep.include({
      result: 'failed',
      error: { code: 'NOT_FOUND', message: '/srv/site is not there', hint: 'Mount it.' },
    });
  });

  it('threat 8 a failed job still names what it found', async () => {
    const warnings = [{ code: 'damaged', path: Buffer.from('db/a.sql'), message: 'damaged in snapshot 7' }];
    const failure = { errorCode: 'DAMAGED', errorMessage: 'bytes are damaged', errorHint: '' };
    const events = [outcome({ result: 'failed', ...failure, warnings, warningsTotal: 1n })];
    const { code, stdout, stderr } = await withJob(['verify', 'web-1/site'], events, {
      startVerify: () => Promise.resolve({ jobId: 'job-1', snapshotId }),
    });
    expect({ code, stderr }).to.deep.equal({ code: 1, stderr: 'holdfast: bytes are damaged\n' });
    expect(stdout).to.equal('  1 warning:\n    db/a.sql: damaged in snapshot 7 (damaged)\n');
  });

  it('a job that can’t start still ends with a summary for programs', async () => {
    const startBackup = () => {
      throw new HoldfastError('BUSY', 'web-1/site is being backed up', { hint: 'Wait for it.' });
    };
    const { code, last, stderr } = await withJob(['backup', 'web-1/site', '--json'], [], { startBackup });
    expect(code).to.equal(11);
    expect(last()).to.deep.include({ event: 'summary', result: 'failed', snapshot: null, job: null });
    expect(JSON.parse(stderr)).to.deep.equal({
      event: 'error',
      code: 'BUSY',
      message: 'web-1/site is being backed up',
      hint: 'Wait for it.',
    });
  });

  it('restore asks for what its options say', async () => {
    let asked: unknown;
    const startRestore: OperatorServiceImplementation['startRestore'] = (request) => {
      asked = request;
      return Promise.resolve({ jobId: 'job-1', snapshotId });
    };
    const args = ['restore', 'web-1/site', 'etc/a\\xff', '--path', '/b/', '--to', 'web-2:/srv/again'];
    const flags = [
      '--at',
      '2026-11-22T10:00:00Z',
      '--delta',
      '--delete-extra',
      '--into-non-empty',
      '--limit',
      '10MiB/s',
    ];
    const { code } = await withJob([...args, ...flags], [outcome({})], { startRestore });
    expect(code).to.equal(0);
    expect(asked).to.deep.include({
      domain: '',
      source: 'web-1/site',
      snapshotId: Buffer.alloc(0),
      atMs: BigInt(Date.UTC(2026, 10, 22, 10)),
      toHost: 'web-2',
      target: '/srv/again',
      paths: [Buffer.from('b'), Buffer.from('etc/a\xff', 'latin1')],
      delta: true,
      dryRun: false,
      intoNonEmpty: true,
      setuid: false,
      deleteExtra: true,
      limitBytesPerSecond: 10n * 1024n * 1024n,
    });
  });

  it('restore without a destination, or with half of one, is a usage error before anything is called', async () => {
    for (const args of [
      ['restore', 'a/b'],
      ['restore', 'a/b', '--to', 'web-2'],
      ['restore', 'a/b', '--to', 'web-2:srv'],
    ]) {
      const { code, stderr } = await runCli(args, { address: '127.0.0.1:1' });
      expect(code).to.equal(2);
      expect(stderr).to.contain('--to HOST:DIR');
    }
  });

  it('restore --verify reads and writes nothing', async () => {
    const { code } = await withJob(['restore', 'web-1/site', '--verify', '--to', 'web-2:/x'], [outcome({})]);
    expect(code).to.equal(0);
    expect(controller?.calls.map(({ name }) => name)).to.deep.equal(['StartVerify', 'WatchJob']);
  });

  it('verify counts what it checked, and damage is an error with exit code 1', async () => {
    const good = await withJob(['verify', 'web-1/site', '--all'], [outcome({})]);
    expect(good).to.include({ code: 0 });
    expect(good.stdout).to.contain('12 entries checked, 4.00 KiB read');
    controller?.stop();
    const failure = { result: 'failed', errorCode: 'DAMAGED', errorMessage: '2 files are damaged' };
    expect((await withJob(['verify', 'web-1/site'], [outcome(failure)])).code).to.equal(1);
  });

  it('the first SIGINT asks for the end of the job and waits for its outcome', async () => {
    let interrupt = (): void => undefined;
    let cancelled = (): void => undefined;
    const cancelling = new Promise<void>((resolve) => (cancelled = resolve));
    const { code, stderr } = await withJob(
      ['backup', 'web-1/site'],
      [],
      {
        watchJob: async function* watch() {
          yield progress;
          interrupt();
          await cancelling;
          yield outcome({ result: 'cancelled' });
        },
        cancelJob: () => (cancelled(), Promise.resolve({})),
      },
      { onStart: (send) => (interrupt = send) },
    );
    expect(code).to.equal(1);
    expect(stderr).to.equal('Cancelling … (Ctrl-C again leaves without waiting)\nholdfast: the job was cancelled\n');
  });

  it('the second SIGINT leaves and says how to come back', async () => {
    let interrupt = (): void => undefined;
    const { code, stderr } = await withJob(
      ['backup', 'web-1/site'],
      [],
      {
        watchJob: async function* watch(_request, context) {
          yield progress;
          interrupt();
          interrupt();
          await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
        },
        cancelJob: () => Promise.resolve({}),
      },
      { onStart: (send) => (interrupt = send) },
    );
    expect(code).to.equal(1);
    expect(stderr).to.contain('left job job-1 without waiting for its end\n  It may go on.');
  });

  it('network 20: a controller that restarts in the middle of a job is followed again', async () => {
    let watches = 0;
    const { code, stdout } = await withJob(['backup', 'web-1/site'], [], {
      watchJob: async function* watch() {
        watches += 1;
        if (watches === 1) throw new HoldfastError('UNREACHABLE', 'going down');
        yield outcome({});
      },
    });
    expect(code).to.equal(0);
    expect(watches).to.equal(2);
    expect(stdout).to.contain('snapshot abababababab');
  });

  it('network 14: a connection that is lost after hours of silence is taken up again, too', async () => {
    let watches = 0;
    let nowMs = 0;
    const watchJob: OperatorServiceImplementation['watchJob'] = async function* watch() {
      watches += 1;
      yield { kind: { $case: 'state', value: { id: 'job-1', state: 'running' } } };
      if (watches > 1) return yield outcome({});
      nowMs += 3 * 3_600_000;
      throw new HoldfastError('UNREACHABLE', 'Connection dropped');
    };
    const { code, lines } = await withJob(['backup', 'web-1/site', '--json'], [], { watchJob }, { now: () => nowMs });
    expect(code).to.equal(0);
    expect(watches).to.equal(2);
    const told = lines.map((line) => (JSON.parse(line) as { event: string }).event);
    expect(told, 'a state that is said again is told once').to.deep.equal(['started', 'job', 'summary']);
  });

  it('a dry run and a delta say what is written, deleted, left alone and fetched', async () => {
    const planned = {
      created: 3n,
      changed: 2n,
      metadata: 1n,
      unchanged: 1200n,
      deleted: 1n,
      bytesWritten: 2048n,
      bytesUnchanged: 4096n,
      bytesFetched: 1024n,
      examples: [
        { action: 'create', path: Buffer.from('new') },
        { action: 'delete', path: Buffer.from([0x61, 0xff]) },
      ],
      dryRun: true,
    };
    const args = ['restore', 'web-1/site', '--to', 'web-2:/srv/x'];
    const words = await withJob([...args, '--dry-run'], [outcome({ planned })]);
    expect(words.stdout).to.equal(
      [
        'web-1/site: snapshot abababababab, 10 files, 1.00 MiB',
        '  12 entries looked at; nothing was written',
        '  3 entries new, 2 changed (2.00 KiB to write), 1 with other metadata alone, 1 to delete, 1,200 left alone',
        '  1.00 KiB to fetch from the vault',
        '    -  a\\xff',
        '    +  new',
        '    … and 5 more',
        '',
      ].join('\n'),
    );
    controller?.stop();
    const delta = { ...planned, dryRun: false };
    const { stdout } = await withJob([...args, '--delta'], [outcome({ planned: delta })]);
    expect(stdout).to.contain('1 deleted, 1,200 left alone').and.not.contain('new\n');
    controller?.stop();
    const document = await withJob([...args, '--dry-run', '--json'], [outcome({ planned })]);
    expect(document.last()).to.deep.include({
      planned: {
        dryRun: true,
        created: 3,
        changed: 2,
        metadata: 1,
        unchanged: 1200,
        deleted: 1,
        bytesWritten: 2048,
        bytesUnchanged: 4096,
        bytesFetched: 1024,
        examples: [
          { action: 'create', path: 'new' },
          { action: 'delete', path: 'a\\xff', pathBytes: 'Yf8=' },
        ],
      },
    });
  });

  it('verify of several snapshots has a line for each, and their sum', async () => {
    const snapshot = { sequence: 1n, committedAtMs: 1_790_000_000_000n, entries: 4n, files: 3n, bytesTotal: 2048n };
    const snapshots = [
      { ...snapshot, snapshotId: Buffer.alloc(32, 1), damagedObjects: 2n },
      { ...snapshot, snapshotId: Buffer.alloc(32, 2), sequence: 2n, opened: true },
    ];
    const failure = { result: 'failed', errorCode: 'DAMAGED', errorMessage: 'stored bytes are damaged' };
    const { code, stdout } = await withJob(['verify', 'web-1/site', '--all'], [outcome({ snapshots, ...failure })]);
    expect(code).to.equal(1);
    expect(stdout).to.match(/^SNAPSHOT +COMMITTED +FILES +SIZE +VERDICT\n010101010101 .* 3 .*damaged: 2 objects\n/);
    expect(stdout).to.match(/020202020202 .*whole, and opened\n2 snapshots: 1 whole, 1 damaged\n/);
    controller?.stop();
    const document = await withJob(['verify', 'web-1/site', '--all', '--json'], [outcome({ snapshots })]);
    expect(document.last()).to.have.nested.property('snapshots[0].damagedObjects', 2);
    expect(document.last()).to.have.nested.property('snapshots[1].opened', true);
  });

  it('shows progress on a terminal, one line that it takes away at the end', async () => {
    const { stderr } = await withJob(['backup', 'web-1/site'], [progress, outcome({})], {}, { terminal: true });
    expect(stderr).to.equal('\rupload  50 %  3 files  4.00 KiB of 8.00 KiB  a/b\x1b[K\r\x1b[K');
  });
});
