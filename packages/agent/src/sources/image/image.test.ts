import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import type { EngineSpec } from '../../jobs/job.ts';
import { EngineBench } from '../../testing/engine-bench.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { imageEngine } from './engine.ts';
import { imageFormatOf } from './image-format.ts';
import { isLocked } from './image-locks.ts';
import { imageFindings, imagesOnHost } from './look.ts';

const MIB = 1024 * 1024;

function sourceOf(path: string): EngineSpec {
  return {
    sourceId: 'image-1',
    name: 'disk',
    type: 'engine',
    engine: { type: 'image', settings: { path, every: 'off' } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

function writeAt(path: string, bytes: Buffer, position: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, position);
  closeSync(fd);
}

/** 256 MiB with data in a few places. */
function makeRaw(path: string): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 256 * MIB + 512);
  for (const at of [0, 3 * MIB + 4096, 200 * MIB]) writeSync(fd, randomBytes(MIB), 0, MIB, at);
  closeSync(fd);
}

function makeQcow2(path: string): void {
  const raw = `${path}.raw`;
  makeRaw(raw);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-S', '4k', raw, path]);
  rmSync(raw);
}

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

for (const [kind, make] of [
  ['raw', makeRaw],
  ['qcow2', makeQcow2],
] as const) {
  engineConformance(
    `disk images, ${kind}`,
    async (): Promise<EngineRig> => {
      const work = mkdtempSync(join(tmpdir(), 'hf-image-'));
      const path = join(work, `disk.${kind}`);
      make(path);
      return {
        engine: imageEngine,
        source: sourceOf(path),
        broken: sourceOf(join(work, 'gone.img')),
        target: (name) => join(work, name),
        change: async () => writeAt(path, randomBytes(100), 700_000),
        fingerprint: async () => sha256(path),
        restored: async (target) => sha256(join(target, `disk.${kind}`)),
        close: async () => rmSync(work, { recursive: true }),
      };
    },
    { discoverable: false },
  );
}

describe('image engine', function () {
  this.timeout(60_000);
  let work: string;
  beforeEach(() => (work = mkdtempSync(join(tmpdir(), 'hf-image-'))));
  afterEach(() => rmSync(work, { recursive: true }));

  it('stores a changed block of the guest, not its cluster, and brings holes back as holes', async () => {
    const path = join(work, 'disk.img');
    makeRaw(path);
    const bench = new EngineBench({ engine: imageEngine, source: sourceOf(path) });
    try {
      await bench.base();
      writeAt(path, randomBytes(512), 3 * MIB + 8192 + 512);
      const { report, snapshot } = await bench.base();
      expect(report.summary).to.include({ bytesNew: 4096, bytesTotal: 256 * MIB + 512 });
      expect(report.summary.bytesRead).to.be.below(4 * MIB);
      const target = join(work, 'back');
      await bench.restore(snapshot, target);
      const back = statSync(join(target, 'disk.img'));
      expect(back.size).to.equal(256 * MIB + 512);
      expect(back.blocks * 512).to.be.below(5 * MIB);
      expect(sha256(join(target, 'disk.img'))).to.equal(sha256(path));
    } finally {
      await bench.close();
    }
  });

  it('qcow2: an image restored is one that qemu-img finds whole; a grown image costs what it grew by', async () => {
    const path = join(work, 'disk.qcow2');
    makeQcow2(path);
    const bench = new EngineBench({ engine: imageEngine, source: sourceOf(path) });
    try {
      await bench.base();
      const copy = join(work, 'copy.raw');
      execFileSync('qemu-img', ['convert', '-O', 'raw', path, copy]);
      execFileSync('qemu-io', ['-c', 'write -P 7 100M 256k', path]);
      const { report, snapshot } = await bench.base();
      expect(report.summary.bytesNew).to.be.within(256 * 1024, 256 * 1024 + 128 * 1024);
      await bench.restore(snapshot, join(work, 'back'));
      const back = join(work, 'back', 'disk.qcow2');
      execFileSync('qemu-img', ['check', back]);
      expect(sha256(back)).to.equal(sha256(path));
    } finally {
      await bench.close();
    }
  });

  it('names an image that is written to while it is read', async () => {
    const path = join(work, 'disk.img');
    writeFileSync(path, randomBytes(64 * MIB));
    const bench = new EngineBench({ engine: imageEngine, source: sourceOf(path) });
    try {
      // More than may be on its way at once: the reading is not over when the first object arrives.
      bench.vault.beforeObject = (taken) => (taken === 0 ? writeAt(path, randomBytes(10), 5) : undefined);
      const { report } = await bench.base();
      expect(report.warnings.map(({ code, path: of }) => [code, of])).to.deep.equal([
        ['changed-while-read', 'disk.img'],
      ]);
    } finally {
      await bench.close();
    }
  });

  it('says what a snapshot of it would lack', () => {
    const base = join(work, 'base.qcow2');
    const layer = join(work, 'layer.qcow2');
    makeQcow2(base);
    execFileSync('qemu-img', ['create', '-f', 'qcow2', '-b', base, '-F', 'qcow2', layer]);
    const external = join(work, 'external.qcow2');
    const options = `data_file=${join(work, 'data.raw')}`;
    execFileSync('qemu-img', ['create', '-f', 'qcow2', '-o', options, external, '1M']);
    expect(imageFindings(base).map(({ level }) => level)).to.deep.equal(['ok']);
    expect(imageFindings(layer)[1]).to.include({ level: 'warning', subject: 'backing file' });
    expect(imageFindings(layer)[1]!.message).to.contain('base.qcow2');
    expect(imageFindings(external)[1]).to.include({ level: 'error', subject: 'data file' });
    expect(imageFindings(work)[0]).to.include({ level: 'error', message: `${work} is no regular file` });
    expect(imageFindings('disk.img')[0]).to.include({ level: 'error', subject: 'path' });
  });

  it('proposes the images of a directory, also one below', () => {
    makeRaw(join(work, 'vm 1.raw'));
    copyFileSync(join(work, 'vm 1.raw'), join(work, 'notes.txt'));
    const [found, ...more] = imagesOnHost([work, '/nowhere']);
    expect(more).to.deep.equal([]);
    expect(found).to.include({ type: 'image', name: 'vm-1' });
    expect(found!.command).to.equal(`holdfast source add vm-1 --host HOST --type image --path '${work}/vm 1.raw'`);
  });

  it('knows a lock of another program by device and inode', () => {
    const locks = '1: POSIX  ADVISORY  WRITE 812 00:1a:933 0 EOF\n2: OFDLCK ADVISORY  READ  -1 fe:01:1054732 100 101\n';
    expect(isLocked(locks, { major: 0xfe, minor: 1 }, 1_054_732)).to.equal(true);
    expect(isLocked(locks, { major: 0xfe, minor: 1 }, 105_473)).to.equal(false);
    expect(isLocked(locks, { major: 0, minor: 0x1a }, 933)).to.equal(true);
  });

  it('takes any header for something', () => {
    const magic = Buffer.from([0x51, 0x46, 0x49, 0xfb]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, qcow2) => {
        const format = imageFormatOf(Buffer.concat([qcow2 ? magic : Buffer.alloc(0), bytes]));
        expect([512, 1024, 2048, 4096]).to.include(format.pageBytes);
        if (!qcow2) expect(format.backingFile).to.equal('');
      }),
    );
  });
});
