// Protobuf wire format by hand, for manifest nodes alone.
//
// Hazard: a generic decoder makes an object of every entry (2 s for 200,000) and allocates what a length claims. Here a
// node is read in place, every length is checked against the bytes that are there before it is believed, and only the
// canonical encoding is taken: fields ascending, known, of the right type, packed, not repeated unless they may be.
//
// Invariants (wire.test.ts, leaf.property.test.ts): what the writer makes, ts-proto's generated code reads and writes
// byte for byte the same; no input makes the reader read beyond its end or allocate more than a small multiple of it.

import { HoldfastError } from '../../base/errors.ts';

const VARINT = 0;
const BYTES = 2;

export function damaged(what: string): HoldfastError {
  return new HoldfastError('DAMAGED', `manifest node: ${what}`);
}

/** A growing byte buffer with the writing half of the wire format. Fields at their default value are left out. */
export class WireWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 1024) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
  }

  /** What was written, without a copy: valid until the next write. */
  peek(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** A copy of what was written, in memory of its own (it may be transferred to another thread). */
  copy(): Buffer {
    const bytes = Buffer.allocUnsafeSlow(this.#length);
    this.#buffer.copy(bytes, 0, 0, this.#length);
    return bytes;
  }

  /** A whole number from 0 to 2^53 − 1. */
  varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A byte string's characters from `from` on. */
  text(text: string, from = 0): void {
    const part = from === 0 ? text : text.slice(from);
    this.#reserve(part.length);
    this.#length += this.#buffer.write(part, this.#length, 'latin1');
  }

  uintField(field: number, value: number): void {
    if (value === 0) return;
    this.varint(field * 8 + VARINT);
    this.varint(value);
  }

  bytesField(field: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.element(field, bytes);
  }

  /** An element of a repeated field, or a nested message: written even when empty. */
  element(field: number, bytes: Uint8Array): void {
    this.varint(field * 8 + BYTES);
    this.varint(bytes.length);
    this.raw(bytes);
  }

  textElement(field: number, text: string): void {
    this.varint(field * 8 + BYTES);
    this.varint(text.length);
    this.text(text);
  }

  packedField(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    let size = 0;
    for (const value of values) size += varintSize(value);
    this.varint(field * 8 + BYTES);
    this.varint(size);
    for (const value of values) this.varint(value);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

/** Signed to unsigned, small magnitudes first: 0, −1, 1, −2, … */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

export function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** Reads one message in place. Every method throws DAMAGED rather than leave [at, end). */
export class WireReader {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;
  /** Number of the field that `nextField` found. */
  field = 0;
  #type = 0;

  constructor(bytes: Buffer, at = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get done(): boolean {
    return this.at === this.end;
  }

  /** Goes to the next field; false at the end. Fields must ascend; only those in `repeated` may come again. */
  nextField(repeated: readonly number[] = []): boolean {
    if (this.at === this.end) return false;
    const key = this.varint();
    const field = Math.floor(key / 8);
    if (field < this.field || (field === this.field && !repeated.includes(field))) {
      throw damaged(`field ${field} out of order`);
    }
    this.field = field;
    this.#type = key % 8;
    return true;
  }

  /** Value of a number field, 1 to `max`. */
  uint(max: number): number {
    if (this.#type !== VARINT) throw damaged(`field ${this.field} is no number`);
    const value = this.varint();
    if (value === 0 || value > max) throw damaged(`field ${this.field} is ${value}, at most ${max} is allowed`);
    return value;
  }

  /** A reader over the value of a bytes, message or packed field; this one goes on behind it. Not empty. */
  nested(): WireReader {
    const length = this.#length();
    if (length === 0) throw damaged(`field ${this.field} is empty`);
    const inner = new WireReader(this.bytes, this.at, this.at + length);
    this.at += length;
    return inner;
  }

  /** Value of a bytes field, as a view. Only an element of a repeated field may be empty. */
  slice(mayBeEmpty = false): Buffer {
    const length = this.#length();
    if (length === 0 && !mayBeEmpty) throw damaged(`field ${this.field} is empty`);
    const view = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return view;
  }

  /** Value of a packed field: at most `maxCount` numbers of at most `max`. */
  packed(maxCount: number, max: number): number[] {
    const inner = this.nested();
    const values: number[] = [];
    while (inner.at < inner.end) {
      if (values.length === maxCount) throw damaged(`field ${this.field} has more than ${maxCount} values`);
      const value = inner.varint();
      if (value > max) throw damaged(`field ${this.field} holds ${value}, at most ${max} is allowed`);
      values.push(value);
    }
    return values;
  }

  unknownField(): never {
    throw damaged(`unknown field ${this.field}`);
  }

  /** A number up to 2^53 − 1 in its shortest form. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.end) break;
      const byte = this.bytes[this.at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if ((byte === 0 && i > 0) || value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 0x80;
    }
    throw damaged('a number is cut, too long, or beyond 2^53 − 1');
  }

  #length(): number {
    if (this.#type !== BYTES) throw damaged(`field ${this.field} has the wrong type`);
    const length = this.varint();
    if (length > this.end - this.at) throw damaged(`field ${this.field} claims ${length} bytes, beyond the node's end`);
    return length;
  }
}
