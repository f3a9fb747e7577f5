import { randomBytes } from 'node:crypto';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobReport, RestoreJob } from '../jobs/job.ts';
import { fakeVault, type FakeVaultOptions } from '../testing/fake-vault.ts';
import { restoreJob, testJobDeps } from '../testing/job-deps.ts';
import { SnapshotBuilder, type BuiltSnapshot, type SpecEntry } from '../testing/snapshot-builder.ts';
import { runRestore, runVerify } from './restore.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const large = randomBytes(12 * MIB);
const tree = randomBytes(10 * 256 * KIB);

const SPEC: readonly SpecEntry[] = [
  { path: 'a.txt', type: 'file', content: Buffer.from('first') },
  { path: 'deep/er/b.txt', type: 'file', content: Buffer.from('second'), stat: { mode: 0o100600 } },
  { path: 'deep/empty', type: 'file' },
  { path: 'deep/link', type: 'symlink', linkTarget: '../a.txt' },
  { path: 'deep/pipe', type: 'fifo' },
  { path: 'names/one', type: 'file', content: Buffer.from('shared'), stat: { nlink: 2, ino: 77n }, hardLinkGroup: 1 },
  { path: 'names/two', type: 'file', content: Buffer.from('shared'), stat: { nlink: 2, ino: 77n }, hardLinkGroup: 1 },
  {
    path: 'sparse',
    type: 'file',
    content: [randomBytes(MIB), { kind: 'hole', length: 30 * MIB }, { kind: 'zeros', length: MIB }, randomBytes(10)],
  },
  { path: 'tree.bin', type: 'file', content: tree },
  { path: 'z.bin', type: 'file', content: large },
  { path: '\xff\xfe name', type: 'file', content: Buffer.from('not UTF-8') },
];

describe('restore', function () {
  this.timeout(60_000);
  let dir: string;
  let target: string;
  let built: BuiltSnapshot;

  before(() => {
    built = new SnapshotBuilder({ chunkBytes: 256 * KIB }).build(SPEC);
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-restore-'));
    target = join(dir, 'target');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  function restore(
    rest: Partial<RestoreJob> = {},
    options: FakeVaultOptions = {},
    of = built,
    signal = new AbortController().signal,
  ): Promise<JobReport> {
    const vault = fakeVault(of.objects, of.recordId, options);
    return runRestore(restoreJob(target, rest), testJobDeps(vault.client), signal, () => undefined);
  }
  const failing = async (work: Promise<unknown>): Promise<HoldfastError> => {
    const thrown: unknown = await work.then(() => undefined).catch((error: unknown) => error);
    if (!(thrown instanceof HoldfastError)) throw new Error(`expected a HoldfastError, got ${String(thrown)}`);
    return thrown;
  };

  it('H4 names of one inode that a snapshot holds in two states have their own content each', async () => {
    const stat = { nlink: 3, ino: 77n };
    const changed = new SnapshotBuilder({ chunkBytes: 256 * KIB }).build([
      { path: 'one', type: 'file', content: Buffer.from('before'), stat, hardLinkGroup: 1 },
      { path: 'two', type: 'file', content: Buffer.from('after!'), stat, hardLinkGroup: 1 },
      { path: 'two-too', type: 'file', content: Buffer.from('after!'), stat, hardLinkGroup: 1 },
    ]);
    await restore({}, {}, changed);
    const content = (name: string): string => readFileSync(join(target, name), 'utf8');
    expect([content('one'), content('two'), content('two-too')]).to.deep.equal(['before', 'after!', 'after!']);
    expect(statSync(join(target, 'two')).ino).to.equal(statSync(join(target, 'two-too')).ino);
    expect(statSync(join(target, 'one')).nlink).to.equal(1);
  });

  it('22, 26 names that share a number of inodes of other natures have their own, and the restore goes on', async () => {
    const stat = { nlink: 2, ino: 78n };
    const reused = new SnapshotBuilder({ chunkBytes: 256 * KIB }).build([
      { path: 'a', type: 'symlink', linkTarget: 'x', stat, hardLinkGroup: 1 },
      { path: 'b', type: 'symlink', linkTarget: 'y', stat, hardLinkGroup: 1 },
      { path: 'c', type: 'file', content: Buffer.from('file'), stat, hardLinkGroup: 1 },
      { path: 'd', type: 'symlink', linkTarget: 'x', stat, hardLinkGroup: 1 },
    ]);
    const report = await restore({}, {}, reused);
    expect(report.warnings).to.deep.equal([]);
    expect(['a', 'b', 'd'].map((name) => readlinkSync(join(target, name)))).to.deep.equal(['x', 'y', 'x']);
    expect(readFileSync(join(target, 'c'), 'utf8')).to.equal('file');
    expect(lstatSync(join(target, 'a')).ino).to.equal(lstatSync(join(target, 'd')).ino);
  });

  it('brings back the whole tree: content, metadata, links, holes, names that are not UTF-8', async () => {
    const report = await restore();
    expect(report.warnings).to.deep.equal([]);
    expect(readFileSync(join(target, 'a.txt'), 'utf8')).to.equal('first');
    expect(readlinkSync(join(target, 'deep/link'))).to.equal('../a.txt');
    expect(lstatSync(join(target, 'deep/pipe')).isFIFO()).to.equal(true);
    expect(statSync(join(target, 'names/one')).ino).to.equal(statSync(join(target, 'names/two')).ino);
    expect(readFileSync(join(target, 'z.bin')).equals(large)).to.equal(true);
    expect(readFileSync(join(target, 'tree.bin')).equals(tree)).to.equal(true);
    expect(statSync(join(target, 'sparse')).size).to.equal(32 * MIB + 10);
    expect(statSync(join(target, 'sparse')).blocks * 512).to.be.below(4 * MIB);
    expect(statSync(join(target, 'deep/er/b.txt')).mode & 0o7777).to.equal(0o600);
    expect(statSync(join(target, 'deep/er'), { bigint: true }).mtimeNs).to.equal(1_600_000_000_123_456_789n);
    expect(statSync(target).mode & 0o7777).to.equal(0o755);
    expect(
      readFileSync(Buffer.concat([Buffer.from(`${target}/`), Buffer.from('\xff\xfe name', 'latin1')])).toString(),
    ).to.equal('not UTF-8');
    expect(report.summary.entries).to.equal(SPEC.length + 4);
    expect(report.summary.files).to.equal(8);
  });

  it('brings back one path with its parents alone', async () => {
    await restore({ paths: ['deep/er'] });
    expect(readdirSync(target)).to.deep.equal(['deep']);
    expect(readdirSync(join(target, 'deep'))).to.deep.equal(['er']);
    expect(readFileSync(join(target, 'deep/er/b.txt'), 'utf8')).to.equal('second');
  });

  it('brings back a directory of the snapshot as the target itself, also by delta, and nothing above it', async () => {
    const job = { root: 'deep', paths: ['deep'] };
    await restore(job);
    expect(readdirSync(target).toSorted()).to.deep.equal(['empty', 'er', 'link', 'pipe']);
    expect(readFileSync(join(target, 'er/b.txt'), 'utf8')).to.equal('second');
    expect(statSync(join(target, 'er'), { bigint: true }).mtimeNs).to.equal(1_600_000_000_123_456_789n);
    writeFileSync(join(target, 'er/b.txt'), 'changed');
    writeFileSync(join(target, 'er/extra'), 'extra');
    await restore({ ...job, delta: true, deleteExtra: true });
    expect(readFileSync(join(target, 'er/b.txt'), 'utf8')).to.equal('second');
    expect(readdirSync(join(target, 'er'))).to.deep.equal(['b.txt']);
    const outside = await restore({ root: 'deep', paths: ['deep', 'a.txt'], delta: true });
    expect(outside.warnings.map(({ path }) => path)).to.include('a.txt');
    expect(readdirSync(target)).not.to.include('a.txt');
  });

  it('brings back several paths, a later name of an inode with its content, and names one that is not there', async () => {
    const report = await restore({ paths: ['names/two', 'a.txt', 'nowhere'] });
    expect(readdirSync(target).toSorted()).to.deep.equal(['a.txt', 'names']);
    expect(readFileSync(join(target, 'names/two'), 'utf8')).to.equal('shared');
    expect(report.warnings.map(({ code, path }) => [code, path])).to.deep.equal([['not-in-snapshot', 'nowhere']]);
  });

  it('a path that the snapshot does not have is refused before the target is touched, with what may have been meant', async () => {
    const hints = new Map<string, string>();
    for (const path of ['nowhere', 'a.tx', 'deep/err/b.txt', 'deep/er/c.txt', 'srv/site/deep/er']) {
      const error = await failing(restore({ paths: [path] }));
      expect(error.code).to.equal('NOT_FOUND');
      hints.set(path, error.hint);
      expect(existsSync(target)).to.equal(false);
    }
    expect(hints.get('nowhere')).to.contain('snapshot browse');
    expect(hints.get('a.tx')).to.equal('Did you mean a.txt?');
    expect(hints.get('deep/err/b.txt')).to.equal('Did you mean deep/er/b.txt?');
    expect(hints.get('deep/er/c.txt')).to.equal('Did you mean deep/er/b.txt?');
    expect(hints.get('srv/site/deep/er')).to.equal('Did you mean deep/er?');
    mkdirSync(target, { mode: 0o750 });
    const before = statSync(target, { bigint: true }).ctimeNs;
    expect((await failing(restore({ paths: ['nowhere', 'b'], intoNonEmpty: true }))).code).to.equal('NOT_FOUND');
    expect(statSync(target, { bigint: true }).ctimeNs).to.equal(before);
  });

  it('refuses a target that is not empty, unless told', async () => {
    mkdirSync(target);
    writeFileSync(join(target, 'mine'), 'mine');
    const error = await failing(restore());
    expect(error.code).to.equal('FAILED_PRECONDITION');
    expect(error.hint).to.not.equal('');
    expect(readdirSync(target)).to.deep.equal(['mine']);
    await restore({ intoNonEmpty: true });
    expect(readFileSync(join(target, 'mine'), 'utf8')).to.equal('mine');
    expect(readFileSync(join(target, 'a.txt'), 'utf8')).to.equal('first');
  });

  it('delta: fetches only what differs, and makes the tree as it was', async () => {
    await restore();
    utimesSync(join(target, 'a.txt'), 1, 1);
    const changed = Buffer.from(large);
    changed[5 * MIB] = changed[5 * MIB]! ^ 1;
    writeFileSync(join(target, 'z.bin'), changed);
    rmSync(join(target, 'deep/er'), { recursive: true });
    rmSync(join(target, 'deep/link'));
    writeFileSync(join(target, 'deep/link'), 'now a file');
    writeFileSync(join(target, 'extra'), 'kept');
    const report = await restore({ delta: true });
    expect(report.warnings).to.deep.equal([]);
    expect(readFileSync(join(target, 'z.bin')).equals(large)).to.equal(true);
    expect(readlinkSync(join(target, 'deep/link'))).to.equal('../a.txt');
    expect(readFileSync(join(target, 'deep/er/b.txt'), 'utf8')).to.equal('second');
    expect(statSync(join(target, 'a.txt')).mtimeMs).to.be.closeTo(1_600_000_000_123, 1);
    expect(readFileSync(join(target, 'extra'), 'utf8')).to.equal('kept');
    expect(statSync(join(target, 'names/one')).ino).to.equal(statSync(join(target, 'names/two')).ino);
    expect(report.planned?.bytesFetched).to.be.below(MIB);
    const again = await restore({ delta: true });
    expect(again.planned?.changed).to.be.at.most(2);
  });

  it('delta with delete extra removes what the snapshot does not have, and nothing outside', async () => {
    await restore();
    const outside = join(dir, 'outside');
    writeFileSync(outside, 'outside');
    mkdirSync(join(target, 'deep/more'));
    writeFileSync(join(target, 'deep/more/x'), 'x');
    symlinkSync(outside, join(target, 'deep/planted'));
    const report = await restore({ delta: true, deleteExtra: true });
    expect(readdirSync(join(target, 'deep')).toSorted()).to.deep.equal(['empty', 'er', 'link', 'pipe']);
    expect(readFileSync(outside, 'utf8')).to.equal('outside');
    expect(report.planned?.deleted).to.equal(2);
  });

  it('delta leaves a foreign name of an inode alone', async () => {
    await restore();
    const outside = join(dir, 'outside');
    rmSync(join(target, 'a.txt'));
    writeFileSync(outside, 'first!');
    linkSync(outside, join(target, 'a.txt'));
    await restore({ delta: true });
    expect(readFileSync(outside, 'utf8')).to.equal('first!');
    expect(readFileSync(join(target, 'a.txt'), 'utf8')).to.equal('first');
  });

  it('delta keeps a directory that stands where the snapshot has a file, unless deleting was asked for', async () => {
    await restore();
    rmSync(join(target, 'a.txt'));
    mkdirSync(join(target, 'a.txt'));
    writeFileSync(join(target, 'a.txt/mine'), 'mine');
    const report = await restore({ delta: true });
    expect(report.warnings.map(({ code, path }) => [code, path])).to.deep.equal([['not-restored', 'a.txt']]);
    expect(readFileSync(join(target, 'a.txt/mine'), 'utf8')).to.equal('mine');
    await restore({ delta: true, deleteExtra: true });
    expect(readFileSync(join(target, 'a.txt'), 'utf8')).to.equal('first');
  });

  it('dry run writes nothing, and says what it would do', async () => {
    const report = await restore({ dryRun: true });
    expect(existsSync(target)).to.equal(false);
    expect(report.planned?.created).to.equal(SPEC.length + 4);
    expect(report.planned?.bytesFetched).to.be.above(large.length);
    await restore();
    writeFileSync(join(target, 'a.txt'), 'other');
    writeFileSync(join(target, 'extra'), 'x');
    const before = statSync(join(target, 'a.txt'), { bigint: true }).ctimeNs;
    const second = await restore({ dryRun: true, delta: true, deleteExtra: true });
    expect(
      second.planned?.examples.filter(({ action }) => action !== 'metadata').map(({ action, path }) => [action, path]),
    ).to.deep.include.members([
      ['change', 'a.txt'],
      ['delete', 'extra'],
    ]);
    expect(statSync(join(target, 'a.txt'), { bigint: true }).ctimeNs).to.equal(before);
    expect(existsSync(join(target, 'extra'))).to.equal(true);
  });

  it('W1 names the files that a damaged chunk costs, and brings back all others', async () => {
    const lost = built.chunksOf.get('z.bin')![20]!;
    const bundle = built.chunksOf.get('a.txt')![0]!;
    const report = await restore(
      {},
      {
        notServed: new Map([
          [lost, 'damaged'],
          [bundle, 'missing'],
        ]),
      },
    );
    const named = report.warnings.filter(({ code }) => code === 'damaged').map(({ path }) => path);
    expect(named).to.include.members(['z.bin', 'a.txt', 'names/one', 'names/two']);
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(existsSync(join(target, 'z.bin'))).to.equal(false);
    expect(existsSync(join(target, 'a.txt'))).to.equal(false);
    expect(readFileSync(join(target, 'tree.bin')).equals(tree)).to.equal(true);
    expect(readdirSync(target).filter((name) => name.startsWith('.'))).to.deep.equal([]);
  });

  it('verify names the same files, and writes nothing', async () => {
    const lost = built.chunksOf.get('tree.bin')![3]!;
    const verify = (options: FakeVaultOptions): Promise<JobReport> =>
      runVerify(
        { ...restoreJob(target), kind: 'verify' },
        testJobDeps(fakeVault(built.objects, built.recordId, options).client),
        new AbortController().signal,
        () => undefined,
      );
    const whole = await verify({});
    expect([whole.failure, whole.warnings, whole.summary.files]).to.deep.equal([undefined, [], 9]);
    const report = await verify({ notServed: new Map([[lost, 'damaged']]) });
    expect(report.warnings.map(({ path }) => path)).to.deep.equal(['tree.bin']);
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(existsSync(target)).to.equal(false);
  });

  it('M2 goes on past a leaf that is lost, and says which entries it costs', async () => {
    const many = new SnapshotBuilder().build(
      Array.from({ length: 3000 }, (_, i) => ({
        path: `d${i % 7}/f${i}`,
        type: 'file' as const,
        content: Buffer.from(`${i}`),
      })),
    );
    const inOrder: string[] = [];
    const vault = fakeVault(many.objects, many.recordId, { beforeObject: (id) => void inOrder.push(id) });
    await runVerify(
      { ...restoreJob(target), kind: 'verify' },
      testJobDeps(vault.client),
      new AbortController().signal,
      () => undefined,
    );
    const nodes = inOrder.filter((id) => many.objects.get(id)![3] === 2 && id !== many.root.id.toString('hex'));
    const report = await restore({}, { notServed: new Map([[nodes[2]!, 'damaged']]) }, many);
    const [warning] = report.warnings;
    expect(report.warnings).to.have.length(1);
    const lost = Number(/^(\d+) entries/.exec(warning!.message)![1]);
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(report.summary.entries + lost).to.equal(3000 + 8);
  });

  it('cancelled in the middle: leaves no half file, and says that the target is incomplete', async () => {
    const controller = new AbortController();
    const cancelAt = (_id: string, served: number): void => {
      if (served === 20) controller.abort();
    };
    const error = await failing(restore({}, { beforeObject: cancelAt }, built, controller.signal));
    expect(error.code).to.equal('CANCELLED');
    expect(existsSync(join(target, 'z.bin'))).to.equal(false);
    expect(statSync(target).mode & 0o7777).to.equal(0o700);
    expect(
      readdirSync(target).filter((name) => !SPEC.some(({ path }) => path.split('/')[0] === name)).length,
    ).to.be.at.most(1);
  });

  it('a stream that is lost for good ends it with UNREACHABLE and what is there', async () => {
    const breakAt = (_id: string, served: number): void => {
      if (served >= 30) throw new HoldfastError('UNREACHABLE', 'the vault went away');
    };
    const error = await failing(restore({}, { beforeObject: breakAt }));
    expect(error.code).to.equal('UNREACHABLE');
    expect(error.hint).to.not.equal('');
    await restore({ delta: true });
    expect(readFileSync(join(target, 'z.bin')).equals(large)).to.equal(true);
  });

  it('R2 keeps several reads open, within the window', async () => {
    const vault = fakeVault(built.objects, built.recordId, {
      beforeObject: () => new Promise((resolve) => setTimeout(resolve, 1)),
    });
    await runRestore(restoreJob(target), testJobDeps(vault.client), new AbortController().signal, () => undefined);
    expect(vault.mostWants()).to.be.above(1);
  });
});
