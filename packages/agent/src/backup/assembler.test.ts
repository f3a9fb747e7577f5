import { expect } from 'chai';
import fc from 'fast-check';
import type { Content, Entry } from '@holdfast/shared/format/manifest/entry';
import { newEntry } from '@holdfast/shared/format/manifest/entry';
import { Assembler, type ChunkSlot, type OpenFile } from './assembler.ts';

interface Recorded {
  readonly path: string;
  readonly lengths: readonly number[];
}

/** An assembler over sinks that write down what reaches them. */
function recording() {
  const entries: Recorded[] = [];
  let lengths: number[] = [];
  const assembler = new Assembler(
    {
      add: (entry: Entry) => {
        const { content } = entry;
        entries.push({
          path: entry.path,
          lengths: content.kind === 'segments' ? content.segments.map((segment) => segment.length) : [],
        });
      },
      keep: (_leaf, index) => entries.push({ path: `kept ${index}`, lengths: [] }),
    },
    {
      add: (segment) => lengths.push(segment.length),
      finish: (): Content => {
        const segments = lengths.map((length) => ({ kind: 'hole' as const, length }));
        lengths = [];
        return { kind: 'segments', segments };
      },
    },
  );
  return { assembler, entries };
}

const stat = Buffer.alloc(64);
const leaf = {} as never;

function data(slot: ChunkSlot, length: number) {
  return { kind: 'data' as const, slot, offset: 0, length, tag: Buffer.alloc(16) };
}

function fill(slot: ChunkSlot): void {
  slot.reference = { id: Buffer.alloc(32), proof: Buffer.alloc(16), plainLength: 1 };
}

describe('backup/assembler', () => {
  it('A1 hands entries on in the order given, whatever order their chunks are sealed in', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant('keep'), fc.constant('entry'), fc.constant('file')), { maxLength: 40 }),
        fc.infiniteStream(fc.nat()),
        (kinds, choices) => {
          const { assembler, entries } = recording();
          const open: ChunkSlot[] = [];
          const expected: string[] = [];
          kinds.forEach((kind, index) => {
            if (kind === 'keep') {
              assembler.keep(leaf, index);
              expected.push(`kept ${index}`);
            } else if (kind === 'entry') {
              assembler.add(newEntry(`e${index}`, stat), false);
              expected.push(`e${index}`);
            } else {
              const slot: ChunkSlot = { reference: undefined };
              const file = assembler.openFile();
              file.add(data(slot, index + 1));
              file.complete(newEntry(`f${index}`, stat), false);
              open.push(slot);
              expected.push(`f${index}`);
            }
            const { value } = choices.next();
            if (open.length > 0 && (value as number) % 3 === 0) {
              fill(open.splice((value as number) % open.length, 1)[0]!);
              assembler.drain();
            }
          });
          open.forEach(fill);
          assembler.drain();
          expect(entries.map((entry) => entry.path)).to.deep.equal(expected);
          expect(assembler.waiting).to.equal(0);
        },
      ),
    );
  });

  it('A2 hands on the segments of a large file while it is still being read', () => {
    const { assembler } = recording();
    const file = assembler.openFile();
    for (let i = 0; i < 1000; i++) {
      const slot: ChunkSlot = { reference: undefined };
      file.add(data(slot, 1));
      fill(slot);
      assembler.drain();
    }
    // What was handed on can't be taken back, so the file can't be read again from its start.
    expect(file.restart()).to.equal(false);
  });

  it('a file read again before anything was handed on keeps only the last reading', () => {
    const { assembler, entries } = recording();
    const file = assembler.openFile();
    file.add({ kind: 'zeros', length: 7 });
    expect(file.restart()).to.equal(true);
    file.add({ kind: 'zeros', length: 9 });
    file.complete(newEntry('a', stat), false);
    assembler.drain();
    expect(entries).to.deep.equal([{ path: 'a', lengths: [9] }]);
  });

  it('a file that is given up leaves nothing, nor do the other names of its inode', () => {
    const { assembler, entries } = recording();
    const file: OpenFile = assembler.openFile();
    file.add(data({ reference: undefined }, 5));
    assembler.add(newEntry('second-name', stat), false, { content: file.shared });
    assembler.add(newEntry('z', stat), false);
    file.abandon();
    assembler.drain();
    expect(entries.map((entry) => entry.path)).to.deep.equal(['z']);
  });

  it('every name of an inode carries the whole content', () => {
    const { assembler, entries } = recording();
    const slot: ChunkSlot = { reference: undefined };
    const file = assembler.openFile();
    file.add(data(slot, 3));
    file.add(data(slot, 4));
    file.complete(newEntry('first', stat), false);
    assembler.add(newEntry('second', stat), false, { content: file.shared });
    expect(entries).to.deep.equal([]);
    fill(slot);
    assembler.drain();
    expect(entries).to.deep.equal([
      { path: 'first', lengths: [3, 4] },
      { path: 'second', lengths: [3, 4] },
    ]);
  });

  it('an entry waits for its extended attributes', () => {
    const { assembler, entries } = recording();
    const slot: ChunkSlot = { reference: undefined };
    const segment = {
      kind: 'data' as const,
      chunk: { id: Buffer.alloc(0), proof: Buffer.alloc(0), plainLength: 5000 },
      offset: 0,
      length: 5000,
      tag: Buffer.alloc(16),
    };
    assembler.add(newEntry('a', stat, { xattrs: { kind: 'chunk', segment } }), false, { xattrs: slot });
    expect(entries).to.deep.equal([]);
    fill(slot);
    assembler.drain();
    expect(entries.map((entry) => entry.path)).to.deep.equal(['a']);
  });
});
