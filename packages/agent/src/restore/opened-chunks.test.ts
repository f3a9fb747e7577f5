import { expect } from 'chai';
import type { DataSegment, PlacedChunk } from '@holdfast/shared/format/manifest/entry';
import { OpenedChunks } from './opened-chunks.ts';

const none = Buffer.alloc(0);

function segment(id: number, plainLength: number, offset = 0, length = plainLength): DataSegment<PlacedChunk> {
  const chunk = { id: Buffer.alloc(32, id), proof: none, plainLength, node: none, index: id };
  return { kind: 'data', offset, length, tag: none, chunk };
}

describe('opened chunks', () => {
  const opened: number[] = [];
  const chunks = (capacity: number): OpenedChunks => {
    opened.length = 0;
    return new OpenedChunks((envelope, id) => {
      opened.push(id[0]!);
      return Buffer.from(envelope);
    }, capacity);
  };
  const supply = (...ids: number[]): { id: Buffer; envelope: Buffer; problem: string }[] =>
    ids.map((id) => ({ id: Buffer.alloc(32, id), envelope: Buffer.alloc(10, id), problem: '' }));

  it('O1 hands out the part of the chunk that a segment names, and nothing beyond it', () => {
    const cache = chunks(100);
    cache.supply(supply(1));
    expect([...cache.bytesOf(segment(1, 10, 8, 2))]).to.deep.equal([1, 1]);
    expect(() => cache.bytesOf(segment(1, 10, 8, 3))).to.throw('beyond its chunk');
    expect(() => cache.bytesOf(segment(2, 10))).to.throw('was not served');
  });

  it('O1 refuses a chunk of another length than the manifest says, and says why one was not served', () => {
    const cache = chunks(100);
    cache.supply([...supply(1), { id: Buffer.alloc(32, 2), envelope: undefined, problem: 'damaged: rot' }]);
    expect(() => cache.bytesOf(segment(1, 11))).to.throw('has 10 bytes, not 11');
    expect(() => cache.bytesOf(segment(2, 10))).to.throw('damaged: rot');
  });

  it('O2 forgets the least recently used', () => {
    const cache = chunks(20);
    cache.supply(supply(1, 2, 3));
    for (const id of [1, 2, 1, 3, 1, 2]) cache.bytesOf(segment(id, 10));
    expect(opened).to.deep.equal([1, 2, 3, 2]);
  });

  it('O3 gives back the memory of what it forgets at once, also where a codec left a byte free behind it', () => {
    const bytes = 1 << 20;
    const given: ArrayBuffer[] = [];
    const cache = new OpenedChunks((envelope) => {
      const plain = Buffer.allocUnsafeSlow(bytes + 1).subarray(0, bytes);
      given.push(plain.buffer, envelope.buffer as ArrayBuffer);
      return plain;
    }, bytes);
    const task = (id: number): void => {
      cache.supply([{ id: Buffer.alloc(32, id), envelope: Buffer.allocUnsafeSlow(bytes), problem: '' }]);
      cache.bytesOf(segment(id, bytes));
    };
    task(1);
    task(2);
    expect(given.map(({ byteLength }) => byteLength)).to.deep.equal([0, 0, bytes + 1, bytes]);
  });
});
