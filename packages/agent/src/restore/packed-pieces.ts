// Pieces of a large file on their way to a thread: in columns of one buffer, which is transferred.
//
// Hazard: a page file that many backups changed has thousands of pieces, and a structured clone of each as an object, with the two
// buffers that its id and its tag lie in, costs the main thread more than everything else that it does for the file.
//
// Per piece, in this order, each column together: position, length, offset, chunk's length (f64 each), chunk's id (32 bytes), tag
// (16 bytes), kind (one byte). A chunk's node and place are of no use in a thread and stay behind.
//
// Invariants (packed-pieces.test.ts): what was packed comes back.

import { ID_BYTES } from '@holdfast/shared/format/envelope';
import { TAG_BYTES } from '@holdfast/shared/format/tag';
import type { Piece } from './piece.ts';

export interface PackedPieces {
  readonly count: number;
  readonly columns: ArrayBuffer;
}

const NUMBERS = 4;
const NUMBER_BYTES = 8;
const KINDS = ['data', 'zeros', 'hole'] as const;

export function packPieces(pieces: readonly Piece[]): PackedPieces {
  const count = pieces.length;
  const columns = columnsOf(count, new ArrayBuffer(count * PIECE_BYTES));
  pieces.forEach(({ position, segment }, at) => {
    columns.numbers[at] = position;
    columns.numbers[count + at] = segment.length;
    columns.kinds[at] = KINDS.indexOf(segment.kind);
    if (segment.kind !== 'data') return;
    columns.numbers[2 * count + at] = segment.offset;
    columns.numbers[3 * count + at] = segment.chunk.plainLength;
    columns.ids.set(segment.chunk.id, at * ID_BYTES);
    columns.tags.set(segment.tag, at * TAG_BYTES);
  });
  return { count, columns: columns.buffer };
}

export function unpackPieces({ count, columns: buffer }: PackedPieces): Piece[] {
  const { numbers, ids, tags, kinds } = columnsOf(count, buffer);
  return Array.from({ length: count }, (_, at): Piece => {
    const position = numbers[at]!;
    const length = numbers[count + at]!;
    const kind = KINDS[kinds[at]!]!;
    if (kind !== 'data') return { position, segment: { kind, length } };
    const chunk = {
      id: ids.subarray(at * ID_BYTES, (at + 1) * ID_BYTES),
      plainLength: numbers[3 * count + at]!,
      proof: NONE,
      node: NONE,
      index: 0,
    };
    const tag = tags.subarray(at * TAG_BYTES, (at + 1) * TAG_BYTES);
    return { position, segment: { kind, offset: numbers[2 * count + at]!, length, tag, chunk } };
  });
}

const PIECE_BYTES = NUMBERS * NUMBER_BYTES + ID_BYTES + TAG_BYTES + 1;

function columnsOf(count: number, buffer: ArrayBuffer) {
  const idsAt = count * NUMBERS * NUMBER_BYTES;
  const tagsAt = idsAt + count * ID_BYTES;
  return {
    buffer,
    numbers: new Float64Array(buffer, 0, count * NUMBERS),
    ids: Buffer.from(buffer, idsAt, count * ID_BYTES),
    tags: Buffer.from(buffer, tagsAt, count * TAG_BYTES),
    kinds: new Uint8Array(buffer, tagsAt + count * TAG_BYTES, count),
  };
}

const NONE = Buffer.alloc(0);
