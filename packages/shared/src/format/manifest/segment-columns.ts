// Segments of a node as columns: in a leaf those of all its files, in a segment-tree node those of a part of one.
//
// The last segment of a file in a leaf ends where the file does, so its length isn't stored: most files are one segment
// in a bundle, and neither its length nor its offset (right behind the one before) then costs anything.

import type { PlacedChunk, Segment } from './entry.ts';
import { MAX_CHUNK_BYTES, TAG_BYTES } from './limits.ts';
import type { ReferenceTable, ReferenceWriter } from './references.ts';
import { damaged, unzigzag, type WireReader, WireWriter, zigzag } from './wire.ts';

const ZEROS = 0;
const HOLE = 1;
const DATA = 2;

export class SegmentWriter {
  readonly #references: ReferenceWriter;
  readonly #sources: number[] = [];
  readonly #lengths: number[] = [];
  readonly #offsets: number[] = [];
  readonly #tags = new WireWriter(16 * 1024);
  /** Where the segment before ended, by reference. */
  readonly #ends: number[] = [];

  constructor(references: ReferenceWriter) {
    this.#references = references;
  }

  get count(): number {
    return this.#sources.length;
  }

  /** `impliedLength`: the reader knows the length from the file's size. */
  add(segment: Segment, impliedLength: boolean): void {
    if (!impliedLength) this.#lengths.push(segment.length);
    if (segment.kind !== 'data') {
      this.#sources.push(segment.kind === 'zeros' ? ZEROS : HOLE);
      return;
    }
    const place = this.#references.chunk(segment.chunk);
    this.#sources.push(DATA + place);
    this.#offsets.push(zigzag(segment.offset - (this.#ends[place] ?? 0)));
    this.#ends[place] = segment.offset + segment.length;
    this.#tags.raw(segment.tag);
  }

  encode(message: WireWriter): void {
    message.packedField(1, this.#sources);
    message.packedField(2, this.#lengths);
    message.packedField(3, this.#offsets);
    message.bytesField(4, this.#tags.peek());
  }

  clear(): void {
    this.#sources.length = 0;
    this.#lengths.length = 0;
    this.#offsets.length = 0;
    this.#ends.length = 0;
    this.#tags.clear();
  }
}

/** Reads segments one after the other, from the first on: an offset follows from the segments before. */
export class SegmentReader {
  readonly #references: ReferenceTable;
  readonly #ends: number[] = [];
  #sources: readonly number[] = [];
  #lengths: readonly number[] = [];
  #offsets: readonly number[] = [];
  #tags: Buffer = Buffer.alloc(0);
  #source = 0;
  #length = 0;
  #data = 0;

  /** `reader`: the SegmentColumns message, undefined when it was left out. Throws DAMAGED. */
  constructor(references: ReferenceTable, reader: WireReader | undefined, maxCount: number) {
    this.#references = references;
    while (reader?.nextField() === true) {
      if (reader.field === 1) this.#sources = reader.packed(maxCount, DATA + references.count - 1);
      else if (reader.field === 2) this.#lengths = reader.packed(maxCount, Number.MAX_SAFE_INTEGER);
      else if (reader.field === 3) this.#offsets = reader.packed(maxCount, 2 * MAX_CHUNK_BYTES);
      else if (reader.field === 4) this.#tags = reader.slice();
      else reader.unknownField();
    }
    if (this.#tags.length !== this.#offsets.length * TAG_BYTES) throw damaged('wrong number of segment tags');
  }

  get count(): number {
    return this.#sources.length;
  }

  get done(): boolean {
    return (
      this.#source === this.#sources.length &&
      this.#length === this.#lengths.length &&
      this.#data === this.#offsets.length
    );
  }

  /** `impliedLength`: undefined when the length is stored. */
  next(impliedLength: number | undefined): Segment<PlacedChunk> {
    const source = this.#sources[this.#source++];
    const length = impliedLength ?? this.#lengths[this.#length++];
    if (source === undefined || length === undefined || length <= 0) throw damaged('a segment is missing or empty');
    if (source < DATA) return { kind: source === ZEROS ? 'zeros' : 'hole', length };

    const place = source - DATA;
    const chunk = this.#references.chunk(place);
    const delta = this.#offsets[this.#data];
    if (delta === undefined) throw damaged('a segment has no offset');
    const offset = (this.#ends[place] ?? 0) + unzigzag(delta);
    if (offset < 0 || offset + length > chunk.plainLength) throw damaged('a segment goes beyond its chunk');
    this.#ends[place] = offset + length;
    const tag = this.#tags.subarray(this.#data * TAG_BYTES, (this.#data + 1) * TAG_BYTES);
    this.#data++;
    return { kind: 'data', chunk, offset, length, tag };
  }
}
