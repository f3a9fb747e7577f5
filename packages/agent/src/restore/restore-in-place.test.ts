import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobReport, RestoreJob } from '../jobs/job.ts';
import { fakeVault, type FakeVaultOptions } from '../testing/fake-vault.ts';
import { restoreJob, testJobDeps } from '../testing/job-deps.ts';
import { SnapshotBuilder, type BuiltSnapshot } from '../testing/snapshot-builder.ts';
import { runRestore } from './restore.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const CHUNK = 256 * KIB;

describe('a delta in place', function () {
  this.timeout(60_000);
  const content = randomBytes(12 * MIB);
  const withHole = [randomBytes(8 * MIB), { kind: 'hole' as const, length: 2 * MIB }, randomBytes(MIB)];
  const whole = Buffer.concat(withHole.map((piece) => (Buffer.isBuffer(piece) ? piece : Buffer.alloc(piece.length))));
  let built: BuiltSnapshot;
  let dir: string;
  let target: string;
  let large: string;
  let sparse: string;

  before(() => {
    built = new SnapshotBuilder({ chunkBytes: CHUNK }).build([
      { path: 'large', type: 'file', content },
      { path: 'sparse', type: 'file', content: withHole },
      { path: 'small', type: 'file', content: Buffer.from('small') },
    ]);
  });
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-in-place-'));
    target = join(dir, 'target');
    large = join(target, 'large');
    sparse = join(target, 'sparse');
    await restore({ delta: false });
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  async function restore(rest: Partial<RestoreJob> = {}, options: FakeVaultOptions = {}) {
    const vault = fakeVault(built.objects, built.recordId, options);
    const job = restoreJob(target, { delta: true, inPlace: true, ...rest });
    const report: JobReport = await runRestore(
      job,
      testJobDeps(vault.client),
      new AbortController().signal,
      () => undefined,
    );
    const chunks = new Set([...built.chunksOf.values()].flat());
    return { report, chunks: vault.served.filter((id) => chunks.has(id)) };
  }
  const damage = (path: string, at: number, bytes = Buffer.from('changed')): void => {
    const now = readFileSync(path);
    bytes.copy(now, at);
    writeFileSync(path, now);
  };
  const inodeOf = (path: string): number => statSync(path).ino;

  it('F2 F3 writes the differing pieces where they belong, into the file that is there', async () => {
    const inode = inodeOf(large);
    damage(large, 3 * MIB + 5);
    damage(large, 11 * MIB);
    const { report, chunks } = await restore();
    expect(readFileSync(large).equals(content)).to.equal(true);
    expect(inodeOf(large)).to.equal(inode);
    expect(chunks).to.have.length(2);
    expect(report.planned).to.include({ changed: 1 });
    expect(report.summary).to.include({ filesChanged: 1, bytesTotal: content.length + whole.length + 5 });
    expect(statSync(large).mode & 0o777).to.equal(0o644);
  });

  it('F3 a file that is too short, too long, or filled where a hole was, is as it was again', async () => {
    truncateSync(large, 5 * MIB);
    damage(sparse, 9 * MIB);
    writeFileSync(sparse, Buffer.concat([readFileSync(sparse), randomBytes(MIB)]));
    const inodes = [inodeOf(large), inodeOf(sparse)];
    await restore();
    expect(readFileSync(large).equals(content)).to.equal(true);
    expect(readFileSync(sparse).equals(whole)).to.equal(true);
    expect(statSync(sparse).blocks * 512).to.be.below(whole.length - MIB);
    expect([inodeOf(large), inodeOf(sparse)]).to.deep.equal(inodes);
  });

  it('a file that is whole keeps its bytes and gets its metadata', async () => {
    chmodSync(large, 0o600);
    const { chunks } = await restore();
    expect(chunks).to.deep.equal([]);
    expect(statSync(large).mode & 0o777).to.equal(0o644);
  });

  it('37 a file with another name gives way to a new one: nothing is written through it', async () => {
    const outside = join(dir, 'outside');
    linkSync(large, outside);
    damage(large, 0);
    await restore();
    expect(readFileSync(large).equals(content)).to.equal(true);
    expect(readFileSync(outside).equals(content)).to.equal(false);
    expect(inodeOf(large)).not.to.equal(inodeOf(outside));
  });

  it('names a file whose chunk is lost, and leaves it without rights for others', async () => {
    damage(large, 0);
    damage(large, 6 * MIB);
    const notServed = new Map([[built.chunksOf.get('large')![24]!, 'damaged' as const]]);
    const { report } = await restore({}, { notServed });
    expect(report.failure?.code).to.equal('DAMAGED');
    expect(report.warnings.map(({ path }) => path)).to.deep.equal(['large']);
    expect(statSync(large).mode & 0o777).to.equal(0o600);
    await restore();
    expect(readFileSync(large).equals(content)).to.equal(true);
  });

  it('a connection that is lost in the middle ends it, and the next run mends the rest', async () => {
    for (let at = 0; at < 12; at++) damage(large, at * MIB);
    const beforeObject = (_: string, served: number): void => {
      if (served > 12) throw new HoldfastError('UNREACHABLE', 'as the test says');
    };
    const thrown: unknown = await restore({}, { beforeObject }).catch((error: unknown) => error);
    expect(thrown).to.be.instanceOf(HoldfastError).with.property('code', 'UNREACHABLE');
    await restore();
    expect(readFileSync(large).equals(content)).to.equal(true);
  });
});
