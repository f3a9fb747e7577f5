import {
  appendFileSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { displayPath, fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { systemClock } from '@holdfast/shared/runtime/clock';
import type { BackupJob, FilesSource, FilesSpec, JobDeps, JobReport } from '../jobs/job.ts';
import { MemoryVault } from '../testing/memory-vault.ts';
import { runBackup } from './backup.ts';

const secret = Buffer.alloc(32, 7);
const keys = deriveDomainKeys(secret, 'domain', 0);
const recordKeyPem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' });
const MIB = 1024 * 1024;

/** Bytes that don't compress and differ by seed. */
function noise(length: number, seed: string): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) blocks.push(createHash('sha512').update(`${seed}${i}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

describe('backup/backup', function () {
  this.timeout(60_000);
  let work: string;
  let source: string;
  let vault: MemoryVault;
  /** Added to the clock: later backups then find earlier changes old enough to be sure of. */
  let laterMs: number;

  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'holdfast-backup-'));
    source = join(work, 'source');
    mkdirSync(source);
    vault = new MemoryVault();
    laterMs = 0;
  });
  afterEach(() => rmSync(work, { recursive: true }));

  function deps(): JobDeps {
    const identity = { hostId: 'host', domainId: 'domain', keyEpoch: 0, domainSecret: secret, recordKeyPem };
    const log = { error() {}, warn() {}, info() {}, debug() {} };
    return {
      identity,
      vault: vault.client,
      clock: { ...systemClock, wallMs: () => Date.now() + laterMs },
      log,
      limiter: { take: async () => undefined },
      stateDir: join(work, 'state'),
    } as unknown as JobDeps;
  }

  function job(rest: Partial<BackupJob<FilesSpec>> = {}, files: Partial<FilesSource> = {}): BackupJob<FilesSpec> {
    return {
      kind: 'backup',
      jobId: 'job',
      fullRead: false,
      source: {
        sourceId: 'source-1',
        name: 'site',
        type: 'files',
        files: {
          paths: [fromText(source)],
          excludes: [],
          includes: [],
          oneFileSystem: false,
          excludeCaches: false,
          continuous: false,
          scanEverySeconds: 0,
          ...files,
        },
        hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
        limitBytesPerSecond: 0,
        compression: { codec: 'zstd', level: 0 },
      },
      ...rest,
    };
  }

  /** A backup long after everything that was written so far. */
  async function backUp(
    rest: Partial<BackupJob<FilesSpec>> = {},
    signal = new AbortController().signal,
  ): Promise<JobReport> {
    laterMs += 60_000;
    return runBackup(job(rest), deps(), signal, () => undefined);
  }

  function expectSameAsSource(): void {
    const stored = vault.contents(keys);
    const names = ['', ...readdirSync(source, { recursive: true, encoding: 'utf8' })];
    expect([...stored.keys()].toSorted()).to.deep.equal(names.toSorted());
    for (const [path, { entry, content }] of stored) {
      const real = join(source, path);
      const stat = lstatSync(Buffer.from(real, 'latin1'), { bigint: true });
      expect(entry.stat.readBigUInt64LE(24), displayPath(path)).to.equal(stat.ino);
      if (stat.isSymbolicLink()) expect(entry.linkTarget).to.equal(readlinkSync(real));
      if (stat.isFile() && content !== undefined) expect(content.equals(readFileSync(real)), path).to.equal(true);
    }
  }

  function writeTree(): void {
    for (const folder of ['a', 'a/deep/er', 'b', 'empty']) mkdirSync(join(source, folder), { recursive: true });
    for (let i = 0; i < 300; i++) writeFileSync(join(source, 'a', `small-${i}`), noise(100 + i * 17, `s${i}`));
    writeFileSync(join(source, 'a-file'), 'sorts after what is in a/');
    writeFileSync(join(source, 'b/large'), noise(9 * MIB, 'large'));
    writeFileSync(join(source, 'b/nothing'), '');
    writeFileSync(join(source, 'b/zeros'), Buffer.alloc(6 * MIB));
    symlinkSync('../nowhere', join(source, 'b/link'));
    linkSync(join(source, 'b/large'), join(source, 'a/deep/er/hard-link'));
    linkSync(join(source, 'a/small-1'), join(source, 'b/hard-link-to-small'));
  }

  it('stores every entry and every byte', async () => {
    writeTree();
    const { summary, warningsTotal } = await backUp();
    expectSameAsSource();
    expect(warningsTotal).to.equal(0);
    expect(summary.entries).to.equal(vault.contents(keys).size);
    expect(summary.files).to.equal(306);
    expect(vault.record(keys)).to.deep.include({ sequence: 1, sourceId: 'source-1', partial: false });
  });

  it('C1 reads nothing of an unchanged source, and makes the same manifest', async () => {
    writeTree();
    await backUp();
    const root = vault.rootOf();
    const before = vault.objects.size;
    const { summary } = await backUp();
    expect(summary.bytesRead).to.equal(0);
    expect(summary.bytesNew).to.equal(0);
    expect(vault.rootOf()).to.equal(root);
    // The snapshot's record alone.
    expect(vault.objects.size).to.equal(before + 1);
  });

  it('C1 (34) finds a change that keeps size and mtime', async () => {
    writeTree();
    await backUp();
    const path = join(source, 'a/small-7');
    const { atime, mtime, size } = lstatSync(path);
    writeFileSync(path, noise(size, 'other'));
    utimesSync(path, atime, mtime);
    const { summary } = await backUp();
    expect(summary.filesChanged).to.equal(1);
    expectSameAsSource();
  });

  it("C1 reads a file again whose ctime is within the clock's grain of the previous start", async () => {
    writeFileSync(join(source, 'file'), 'first');
    // This backup starts "now", in the very moment of the change.
    await runBackup(job(), deps(), new AbortController().signal, () => undefined);
    const { summary } = await backUp();
    expect(summary.filesChanged).to.equal(1);
    expect(summary.bytesNew).to.equal(0);
  });

  it('R3 a file that was only touched, or copied over itself, costs no new content', async () => {
    writeTree();
    await backUp();
    for (const name of ['a/small-3', 'b/large']) {
      const path = join(source, name);
      writeFileSync(path, readFileSync(path));
    }
    const { summary } = await backUp();
    expect(summary.bytesRead).to.be.greaterThan(9 * MIB - 1);
    expect(summary.bytesNew).to.equal(0);
    expectSameAsSource();
  });

  it('R3 an edit in the middle of a large file stores the chunks around it alone', async () => {
    writeTree();
    await backUp();
    const fd = openSync(join(source, 'b/large'), 'r+');
    writeSync(fd, 'edited', 4 * MIB);
    closeSync(fd);
    const { summary } = await backUp();
    expect(summary.bytesNew)
      .to.be.greaterThan(0)
      .and.lessThan(5 * MIB);
    expectSameAsSource();
  });

  it('follows deletions, renames, and entries that became something else', async () => {
    writeTree();
    await backUp();
    rmSync(join(source, 'a/deep'), { recursive: true });
    renameSync(join(source, 'b'), join(source, 'c'));
    rmSync(join(source, 'empty'), { recursive: true });
    writeFileSync(join(source, 'empty'), 'a file now');
    rmSync(join(source, 'a-file'));
    mkdirSync(join(source, 'a-file'));
    await backUp();
    expectSameAsSource();
  });

  it('a scan of changed paths makes the very manifest that a whole walk makes', async () => {
    writeTree();
    rmSync(join(source, 'a/deep/er/hard-link'));
    rmSync(join(source, 'b/hard-link-to-small'));
    await backUp();
    writeFileSync(join(source, 'a/small-5'), 'changed');
    writeFileSync(join(source, 'a/new'), 'new');
    rmSync(join(source, 'b'), { recursive: true });
    mkdirSync(join(source, 'empty/filled'));
    writeFileSync(join(source, 'empty/filled/x'), 'x');
    const { summary } = await backUp({ changedPaths: ['a/new', 'a/small-5', 'b', 'empty/filled', 'never-was'] });
    const root = vault.rootOf();
    expectSameAsSource();
    expect(summary.files).to.equal(303);
    rmSync(join(work, 'state'), { recursive: true });
    await backUp();
    expect(vault.rootOf()).to.equal(root);
  });

  it('a file changed through one of its names is taken under all of them', async () => {
    writeTree();
    await backUp();
    writeFileSync(join(source, 'a/small-1'), 'written through this name');
    await backUp({ changedPaths: ['a/small-1'] });
    expectSameAsSource();
  });

  it('(21) without its cache it reads the base from the vault and sends nothing again', async () => {
    writeTree();
    await backUp();
    const root = vault.rootOf();
    rmSync(join(work, 'state'), { recursive: true });
    const { summary } = await backUp();
    expect(summary.bytesRead).to.equal(0);
    expect(vault.rootOf()).to.equal(root);
  });

  it('(8) a damaged cache costs a reading, never content', async () => {
    writeTree();
    await backUp();
    const nodes = join(work, 'state/cache/source-1/nodes');
    const bytes = readFileSync(nodes);
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    writeFileSync(nodes, bytes);
    writeFileSync(join(source, 'b/large'), noise(9 * MIB, 'new large'));
    await backUp();
    expectSameAsSource();
    truncateSync(nodes, 10);
    await backUp();
    expectSameAsSource();
    writeFileSync(join(work, 'state/cache/source-1/base.json'), '{"version":1');
    await backUp();
    expectSameAsSource();
  });

  it('I5 an upload that breaks leaves no snapshot, and the next backup uses what was stored', async () => {
    writeTree();
    vault.beforeObject = (taken) => {
      if (taken === 6) throw new HoldfastError('UNREACHABLE', 'gone');
    };
    const failure = await backUp().catch((error: unknown) => error);
    expect((failure as HoldfastError).code).to.equal('UNREACHABLE');
    expect(vault.snapshots).to.deep.equal([]);
    const stored = new Set(vault.objects.keys());
    vault.beforeObject = () => undefined;
    await backUp();
    expectSameAsSource();
    // Everything that got through is part of the snapshot's vault, not a second copy beside it.
    expect([...stored].every((id) => vault.objects.has(id))).to.equal(true);
  });

  it('B2 ends at once when it is cancelled, and leaves no snapshot', async () => {
    writeTree();
    const abort = new AbortController();
    vault.beforeObject = async (taken) => {
      if (taken === 3) abort.abort();
      await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const failure = await backUp({}, abort.signal).catch((error: unknown) => error);
    expect((failure as HoldfastError).code).to.equal('CANCELLED');
    expect(vault.snapshots).to.deep.equal([]);
  });

  it('heals a base whose objects the vault lost', async () => {
    writeTree();
    await backUp();
    for (const id of vault.objects.keys()) if (id.startsWith('1') || id.startsWith('2')) vault.objects.delete(id);
    vault.baseDamaged = true;
    await backUp();
    expectSameAsSource();
  });

  it('packs the rest of a bundle anew once less than half of it is in use', async () => {
    for (let i = 0; i < 40; i++) writeFileSync(join(source, `f${i}`), noise(20_000, `f${i}`));
    await backUp();
    for (let i = 0; i < 30; i++) writeFileSync(join(source, `f${i}`), noise(20_000, `changed ${i}`));
    await backUp();
    const { summary } = await backUp();
    expect(summary.bytesRead)
      .to.be.greaterThan(0)
      .and.lessThan(15 * 20_000);
    expectSameAsSource();
    expect((await backUp()).summary.bytesRead).to.equal(0);
  });

  it('(33) a hole of 64 GiB is never read, and stays a hole', async () => {
    const fd = openSync(join(source, 'sparse'), 'w');
    writeSync(fd, 'head', 0);
    writeSync(fd, 'tail', 64 * 1024 * MIB);
    closeSync(fd);
    const { summary } = await backUp();
    expect(summary.bytesRead).to.be.lessThan(MIB);
    const { entry } = vault.contents(keys).get('sparse')!;
    const kinds = entry.content.kind === 'segments' ? entry.content.segments.map((segment) => segment.kind) : [];
    expect(kinds).to.deep.equal(['data', 'hole', 'data']);
  });

  it('(22) R1 R2 names a file that changes all the time, and its segments add up', async () => {
    const path = join(source, 'busy');
    writeFileSync(path, noise(3 * MIB, 'busy'));
    writeFileSync(join(source, 'quiet'), 'quiet');
    const writer = new Worker(
      `const fs = require('node:fs'); const { workerData } = require('node:worker_threads');
       const fd = fs.openSync(workerData, 'r+'); let n = 0;
       for (;;) { fs.writeSync(fd, String(n++), (n * 4096) % 3000000); if (n % 50 === 0) fs.ftruncateSync(fd, 3000000 + (n % 7) * 1000); }`,
      { eval: true, workerData: path },
    );
    await new Promise((resolve) => writer.once('online', resolve));
    await new Promise((resolve) => setTimeout(resolve, 100));
    // On a busy machine the writer may not get its turn within three readings; it does within some backups.
    let { warnings } = await backUp();
    for (let more = 0; warnings.length === 0 && more < 10; more++) ({ warnings } = await backUp());
    await writer.terminate();
    expect(warnings.map(({ code, path: named }) => ({ code, named }))).to.deep.equal([
      { code: 'changed-while-read', named: 'busy' },
    ]);
    // `contents` checks that the segments add up to the size.
    expect(vault.contents(keys).get('quiet')!.content!.toString()).to.equal('quiet');
    expect(vault.record(keys).warnings).to.have.length(1);
    appendFileSync(path, 'now quiet');
    await backUp();
    expectSameAsSource();
  });

  it('several roots keep their full paths', async () => {
    mkdirSync(join(source, 'one'));
    mkdirSync(join(source, 'two'));
    writeFileSync(join(source, 'one/x'), 'x');
    writeFileSync(join(source, 'two/y'), 'y');
    writeFileSync(join(source, 'not-me'), 'z');
    laterMs += 60_000;
    const paths = [fromText(join(source, 'two')), fromText(join(source, 'one'))];
    await runBackup(job({}, { paths }), deps(), new AbortController().signal, () => undefined);
    const stored = vault.contents(keys);
    expect(stored.get(`${source.slice(1)}/one/x`)!.content!.toString()).to.equal('x');
    expect(stored.get(`${source.slice(1)}/two/y`)!.content!.toString()).to.equal('y');
    expect(stored.has(`${source.slice(1)}/not-me`)).to.equal(false);
  });

  it('excluded paths are not in the snapshot', async () => {
    writeTree();
    laterMs += 60_000;
    const excluding = job({}, { excludes: ['a/', '*.log'], includes: ['a/small-9'] });
    writeFileSync(join(source, 'b/x.log'), 'log');
    await runBackup(excluding, deps(), new AbortController().signal, () => undefined);
    const stored = [...vault.contents(keys).keys()];
    expect(stored).to.include('b/large').and.to.include('a/small-9');
    expect(stored).not.to.include('a/small-8').and.not.to.include('b/x.log');
  });
});
