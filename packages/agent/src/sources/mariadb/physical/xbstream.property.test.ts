import { expect } from 'chai';
import fc from 'fast-check';
import { crc32 } from 'node:zlib';
import { XbstreamReader } from './xbstream.ts';

interface Chunk {
  readonly path: string;
  readonly bytes: Uint8Array;
}

function streamOf(chunks: readonly Chunk[]): Buffer {
  const out: Buffer[] = [];
  const offsets = new Map<string, number>();
  const head = (type: string, path: string): Buffer => {
    const fixed = Buffer.alloc(6);
    fixed.write(type, 1, 'latin1');
    fixed.writeUInt32LE(path.length, 2);
    return Buffer.concat([Buffer.from('XBSTCK01'), fixed, Buffer.from(path)]);
  };
  for (const { path, bytes } of chunks) {
    const payload = Buffer.alloc(20);
    payload.writeBigUInt64LE(BigInt(bytes.length), 0);
    payload.writeBigUInt64LE(BigInt(offsets.get(path) ?? 0), 8);
    payload.writeUInt32LE(crc32(bytes), 16);
    out.push(head('P', path), payload, Buffer.from(bytes));
    offsets.set(path, (offsets.get(path) ?? 0) + bytes.length);
  }
  for (const path of offsets.keys()) out.push(head('E', path));
  return Buffer.concat(out);
}

function read(stream: Buffer, cuts: readonly number[]): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const ended: string[] = [];
  const reader = new XbstreamReader({
    write(path, offset, bytes) {
      const before = files.get(path) ?? Buffer.alloc(0);
      expect(offset).to.equal(before.length);
      files.set(path, Buffer.concat([before, bytes]));
    },
    end: (path) => void ended.push(path),
  });
  let from = 0;
  for (const cut of [...cuts, stream.length]) {
    reader.push(stream.subarray(from, from + cut));
    from += cut;
  }
  reader.finish();
  expect(ended.toSorted()).to.deep.equal([...files.keys()].toSorted());
  return files;
}

describe("mariadb-backup's stream", () => {
  const chunks = fc.array(
    fc.record({
      path: fc.constantFrom('ibdata1', 'b/t.ibd', 'ib_logfile0'),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    }),
    { minLength: 1, maxLength: 20 },
  );

  it('gives the files, however its bytes are cut', () => {
    fc.assert(
      fc.property(chunks, fc.array(fc.integer({ min: 1, max: 100 })), (parts, cuts) => {
        const files = read(streamOf(parts), cuts);
        for (const [path, bytes] of files) {
          const whole = Buffer.concat(parts.filter((part) => part.path === path).map((part) => part.bytes));
          expect(bytes.equals(whole)).to.equal(true);
        }
      }),
    );
  });

  it('refuses a changed byte of a payload, an early end, and what is no stream', () => {
    const stream = streamOf([{ path: 'ibdata1', bytes: Buffer.alloc(100, 7) }]);
    const changed = Buffer.from(stream);
    changed[60] = 8;
    expect(() => read(changed, [])).to.throw('checksum');
    expect(() => read(stream.subarray(0, 80), [])).to.throw('ended early');
    expect(() => read(stream.subarray(0, stream.length - 21), [])).to.throw('within ibdata1');
    expect(() => read(Buffer.from('not a stream at all, really'), [])).to.throw('it is none');
  });
});
