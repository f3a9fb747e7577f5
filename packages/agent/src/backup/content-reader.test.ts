import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { encodeStat, S_IFREG } from '@holdfast/shared/format/manifest/stat-record';
import type { OpenedFile } from '../scan/opened-file.ts';
import type { OpenFile, PendingSegment } from './assembler.ts';
import { ContentReader } from './content-reader.ts';
import { DeadBytes } from './dead-bytes.ts';
import type { SealingLane } from './sealing-lane.ts';
import { BUNDLE_SLAB_BYTES, CHUNK_SLAB_BYTES, Slabs, type Piece } from './slabs.ts';

const MIB = 1024 * 1024;

function noise(length: number, seed: string): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) blocks.push(createHash('sha512').update(`${seed}${i}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

/** A file of a disk that can't read from `brokenAt` on. */
function fileOf(bytes: Buffer, brokenAt = Number.POSITIVE_INFINITY): OpenedFile {
  const stat = encodeStat({
    mode: S_IFREG | 0o644,
    uid: 0,
    gid: 0,
    nlink: 1,
    size: bytes.length,
    ino: 1n,
    mtimeSeconds: 0,
    mtimeNs: 0,
    ctimeSeconds: 0,
    ctimeNs: 0,
    rdevMajor: 0,
    rdevMinor: 0,
  });
  return {
    stat,
    extents: () => [{ kind: 'data', offset: 0, length: bytes.length }],
    read(into: Buffer, offset: number, length: number, position: number) {
      if (position >= brokenAt) throw new HoldfastError('SYSTEM_CALL_FAILED', 'cannot read: EIO');
      return bytes.copy(into, offset, position, Math.min(position + length, brokenAt));
    },
    stillTheSame: () => true,
  } as unknown as OpenedFile;
}

describe('backup/content-reader', () => {
  let sealed: Buffer[];
  let reader: ContentReader;

  beforeEach(() => {
    sealed = [];
    const memory = (bytes: number) => [new SharedArrayBuffer(bytes), new SharedArrayBuffer(bytes)];
    const nothingToWaitFor = () => undefined;
    const bundleMemory = memory(BUNDLE_SLAB_BYTES);
    const chunkMemory = memory(CHUNK_SLAB_BYTES);
    const all = [...bundleMemory, ...chunkMemory].map((slab) => Buffer.from(slab));
    const lane = {
      submit(slabs: Slabs, { slab, offset, length }: Piece, slot = { reference: undefined }) {
        sealed.push(Buffer.from(all[slab]!.subarray(offset, offset + length)));
        slabs.release(slab);
        return slot;
      },
      throwIfCancelled: () => undefined,
    } as unknown as SealingLane;
    reader = new ContentReader({
      keys: deriveDomainKeys(Buffer.alloc(32, 7), 'domain', 0),
      lane,
      bundles: new Slabs(bundleMemory, 0, nothingToWaitFor),
      chunks: new Slabs(chunkMemory, 2, nothingToWaitFor),
      dead: new DeadBytes(),
      nodes: {
        load() {
          throw new Error('there was no content before');
        },
      },
    });
  });

  function read(file: OpenedFile): PendingSegment[] {
    const segments: PendingSegment[] = [];
    const into = { add: (segment: PendingSegment) => void segments.push(segment), restart: () => false };
    const { fuzzy } = reader.read(file, into as unknown as OpenFile, undefined);
    expect(fuzzy).to.equal(false);
    return segments;
  }

  it('R4 the file behind one that could not be read to its end has its own bytes alone', () => {
    const whole = noise(6 * MIB, 'whole');
    expect(() => read(fileOf(noise(9 * MIB, 'broken'), 5 * MIB))).to.throw('EIO');
    sealed = [];
    const segments = read(fileOf(whole));
    expect(segments.reduce((sum, { length }) => sum + length, 0)).to.equal(whole.length);
    expect(Buffer.concat(sealed).equals(whole)).to.equal(true);
  });

  it('R4 nor do extended attributes that go to a chunk of their own', () => {
    expect(() => read(fileOf(noise(9 * MIB, 'broken'), 5 * MIB))).to.throw('EIO');
    sealed = [];
    const bytes = noise(8000, 'xattrs');
    reader.sealBytes(bytes);
    expect(sealed).to.have.length(1);
    expect(sealed[0]!.equals(bytes)).to.equal(true);
  });

  it('R4 a small file that could not be read leaves nothing in the bundle', () => {
    expect(() => read(fileOf(noise(1000, 'broken'), 500))).to.throw('EIO');
    const bytes = noise(2000, 'whole');
    read(fileOf(bytes));
    reader.closeBundle();
    expect(sealed[0]!.equals(bytes)).to.equal(true);
  });
});
