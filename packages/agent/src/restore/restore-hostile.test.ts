import { generateKeyPairSync } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { newEntry, type Entry } from '@holdfast/shared/format/manifest/entry';
import { LeafWriter } from '@holdfast/shared/format/manifest/leaf-writer';
import { NODE_BOUNDS } from '@holdfast/shared/format/manifest/limits';
import { CLOSED_BY_END } from '@holdfast/shared/format/manifest/node-fields';
import { encodeStat, S_IFDIR, S_IFLNK, S_IFREG, type StatFields } from '@holdfast/shared/format/manifest/stat-record';
import type { JobReport, RestoreJob } from '../jobs/job.ts';
import { fakeVault, type FakeVaultOptions } from '../testing/fake-vault.ts';
import { restoreJob, TEST_HOST, testJobDeps } from '../testing/job-deps.ts';
import { SnapshotBuilder, type BuiltSnapshot } from '../testing/snapshot-builder.ts';
import { runRestore } from './restore.ts';

describe('restore from a hostile vault (threats 37, 40, 43)', function () {
  this.timeout(60_000);
  let dir: string;
  let target: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-hostile-'));
    target = join(dir, 'target');
    writeFileSync(join(dir, 'outside'), 'outside');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const restore = (
    of: BuiltSnapshot,
    options: FakeVaultOptions = {},
    rest: Partial<RestoreJob> = {},
  ): Promise<JobReport> =>
    runRestore(
      restoreJob(target, rest),
      testJobDeps(fakeVault(of.objects, of.recordId, options).client),
      new AbortController().signal,
      () => undefined,
    );

  const failing = async (work: Promise<unknown>): Promise<HoldfastError> => {
    const thrown: unknown = await work.then(() => undefined).catch((error: unknown) => error);
    if (!(thrown instanceof HoldfastError)) throw new Error(`expected a HoldfastError, got ${String(thrown)}`);
    return thrown;
  };

  function nothingOutside(): void {
    expect(readdirSync(dir).filter((name) => name !== 'target')).to.deep.equal(['outside']);
    expect(readFileSync(join(dir, 'outside'), 'utf8')).to.equal('outside');
  }

  const LIES: Readonly<Record<string, (builder: SnapshotBuilder) => Entry[]>> = {
    'a name that climbs out': (builder) => [file(builder, '../evil')],
    'a name that climbs out from within': (builder) => [directory('d'), file(builder, 'd/../../evil')],
    'an absolute name': (builder) => [file(builder, '/evil')],
    'an empty name': (builder) => [directory('d'), file(builder, 'd//x')],
    'a dot': (builder) => [file(builder, '.')],
    'a NUL': (builder) => [file(builder, 'a\0b')],
    'the same name twice': (builder) => [file(builder, 'a'), file(builder, 'a')],
    'names out of order': (builder) => [file(builder, 'b'), file(builder, 'a')],
    'a file under a symlink': (builder) => [symlink('link', '..'), file(builder, 'link/evil')],
    'a file under a file': (builder) => [file(builder, 'a'), file(builder, 'a/b')],
    'a file without its directory': (builder) => [file(builder, 'd/x')],
    'segments that do not add up': (builder) => [file(builder, 'a', { size: 1_000_000 })],
    'an absurd size': (builder) => [file(builder, 'a', { size: Number.MAX_SAFE_INTEGER })],
    'a segment beyond its chunk': (builder) => {
      const data = builder.data('a', Buffer.from('content'));
      const stat = statOf(S_IFREG | 0o644, { size: 7 });
      return [newEntry('a', stat, { content: { kind: 'segments', segments: [{ ...data, offset: 5 }] } })];
    },
  };

  for (const [what, entries] of Object.entries(LIES)) {
    it(`R1 refuses ${what}, and writes nothing of it`, async () => {
      const builder = new SnapshotBuilder();
      const work = restore(snapshotOf(builder, [directory(''), ...entries(builder)]));
      // A leaf that cannot even be decoded is a gap in the report; one that lies ends the restore.
      const code = await work.then((report) => report.failure?.code).catch((error: HoldfastError) => error.code);
      expect(code).to.be.oneOf(['PATH_ESCAPES', 'DAMAGED']);
      expect(existsSync(target) ? readdirSync(target) : []).to.deep.equal([]);
      nothingOutside();
    });
  }

  it('40 makes no hard link of a file to a symlink: each has what its own entry says, and nothing outside is touched', async () => {
    const builder = new SnapshotBuilder();
    const shared = { nlink: 2, ino: 9n };
    const link = { ...symlink('a', '../outside', shared), hardLinkGroup: 1 };
    const other = { ...file(builder, 'b', shared), hardLinkGroup: 1 };
    await restore(snapshotOf(builder, [directory(''), link, other]));
    expect(lstatSync(join(target, 'a')).isSymbolicLink()).to.equal(true);
    expect(lstatSync(join(target, 'b')).isFile()).to.equal(true);
    nothingOutside();
  });

  it('names a file whose chunk was swapped for another of the same domain', async () => {
    const builder = new SnapshotBuilder();
    const chunk = builder.chunk('x', Buffer.from('evil'));
    const built = builder.build([{ path: 'a', type: 'file', content: Buffer.from('good') }]);
    const own = built.chunksOf.get('a')![0]!;
    const report = await restore(built, { swapped: new Map([[own, built.objects.get(chunk.id.toString('hex'))!]]) });
    expect(report.warnings.map(({ code, path }) => [code, path])).to.deep.equal([['damaged', 'a']]);
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(existsSync(join(target, 'a'))).to.equal(false);
  });

  it('names a file whose chunk is longer inside than the manifest says, and writes none of it', async () => {
    const builder = new SnapshotBuilder();
    const bomb = builder.data('a', Buffer.alloc(16 * 1024 * 1024));
    const stat = statOf(S_IFREG | 0o644, { size: 100 });
    const lying = { ...bomb, length: 100, chunk: { ...bomb.chunk, plainLength: 100 } };
    const entry = newEntry('a', stat, { content: { kind: 'segments', segments: [lying] } });
    const report = await restore(snapshotOf(builder, [directory(''), entry]));
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(existsSync(join(target, 'a'))).to.equal(false);
  });

  it('refuses a manifest node that was swapped', async () => {
    const builder = new SnapshotBuilder();
    const built = builder.build([{ path: 'a', type: 'file', content: Buffer.from('good') }]);
    const other = builder.build([{ path: 'b', type: 'file', content: Buffer.from('other') }]);
    const swapped = new Map([[built.root.id.toString('hex'), built.objects.get(other.root.id.toString('hex'))!]]);
    const report = await restore(built, { swapped });
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(readdirSync(target)).to.deep.equal([]);
  });

  it("refuses a record that names this host and isn't signed by it, and one of another domain", async () => {
    const forged = new SnapshotBuilder({ hostId: TEST_HOST, signingKey: generateKeyPairSync('ed25519').privateKey });
    expect((await failing(restore(forged.build([])))).code).to.equal('DAMAGED');
    const foreign = new SnapshotBuilder({ secret: Buffer.alloc(32, 8) });
    expect((await failing(restore(foreign.build([])))).code).to.equal('DAMAGED');
    expect(existsSync(target)).to.equal(false);
  });

  it('T1 writes nothing outside while directories are swapped for symlinks under it', async () => {
    const elsewhere = join(dir, 'elsewhere');
    mkdirSync(elsewhere);
    const spec = Array.from({ length: 4000 }, (_, i) => ({
      path: `d${i % 40}/f${i}`,
      type: 'file' as const,
      content: Buffer.alloc(2000, i),
    }));
    const built = new SnapshotBuilder().build(spec);
    let round = 0;
    const swap = setInterval(() => {
      const victim = join(target, `d${round++ % 40}`);
      try {
        renameSync(victim, `${victim}.away${round}`);
        symlinkSync(elsewhere, victim);
      } catch {
        // Not there yet, or swapped before.
      }
    }, 0);
    try {
      await restore(built, { beforeObject: () => new Promise((resolve) => setTimeout(resolve, 1)) });
    } catch (error) {
      expect(error).to.be.instanceOf(HoldfastError);
    } finally {
      clearInterval(swap);
    }
    expect(readdirSync(elsewhere)).to.deep.equal([]);
  });
});

const BASE: StatFields = {
  mode: 0,
  uid: 0,
  gid: 0,
  nlink: 1,
  size: 0,
  ino: 1n,
  mtimeSeconds: 0,
  mtimeNs: 0,
  ctimeSeconds: 0,
  ctimeNs: 0,
  rdevMajor: 0,
  rdevMinor: 0,
};

function statOf(mode: number, rest: Partial<StatFields> = {}): Buffer {
  return encodeStat({ ...BASE, mode, ...rest });
}

function directory(path: string): Entry {
  return newEntry(path, statOf(S_IFDIR | 0o755));
}

function symlink(path: string, linkTarget: string, stat: Partial<StatFields> = {}): Entry {
  return newEntry(path, statOf(S_IFLNK | 0o777, { size: linkTarget.length, ...stat }), { linkTarget });
}

function file(builder: SnapshotBuilder, path: string, stat: Partial<StatFields> = {}): Entry {
  const bytes = Buffer.from(`content of ${path}`);
  const segments = [builder.data(path, bytes)];
  return newEntry(path, statOf(S_IFREG | 0o644, { size: bytes.length, ...stat }), {
    content: { kind: 'segments', segments },
  });
}

/** A leaf that no builder would make. */
function snapshotOf(builder: SnapshotBuilder, entries: readonly Entry[]): BuiltSnapshot {
  const leaf = new LeafWriter(NODE_BOUNDS);
  for (const entry of entries) leaf.add(entry);
  const { payload, references } = leaf.take(CLOSED_BY_END);
  return builder.finish(builder.put(ObjectKind.manifestNode, references, payload));
}
