// Packets of the MySQL protocol as they come over a socket: 3 bytes of length, 1 byte of sequence, content; 16 MiB − 1 bytes
// of content mean that the packet goes on in the next (https://mariadb.com/kb/en/0-packet/).
//
// Hazard: an event of a binary log may be 1 GiB. So nothing is put together here: what came goes on as parts, and who wants a
// whole packet collects it under a bound.
//
// Invariant (packets.property.test.ts): however the bytes are cut on their way, the parts are the packets that were sent.

const HEADER_BYTES = 4;
const FULL = 0xff_ff_ff;

/** A part of a packet's content; `last` ends the packet. Parts may be empty. */
export type PartListener = (part: Buffer, last: boolean) => void;

export class PacketSplitter {
  readonly #onPart: PartListener;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerFill = 0;
  #left = 0;
  #continues = false;
  /** Of the last header. */
  sequence = 0;

  constructor(onPart: PartListener) {
    this.#onPart = onPart;
  }

  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left === 0 && this.#headerFill < HEADER_BYTES) {
        const take = Math.min(HEADER_BYTES - this.#headerFill, bytes.length - at);
        bytes.copy(this.#header, this.#headerFill, at, at + take);
        this.#headerFill += take;
        at += take;
        if (this.#headerFill < HEADER_BYTES) return;
        this.#left = this.#header.readUIntLE(0, 3);
        this.#continues = this.#left === FULL;
        this.sequence = this.#header[3] ?? 0;
        if (this.#left === 0) this.#emit(bytes.subarray(at, at));
        continue;
      }
      const take = Math.min(this.#left, bytes.length - at);
      this.#left -= take;
      this.#emit(bytes.subarray(at, at + take));
      at += take;
    }
  }

  #emit(part: Buffer): void {
    const last = this.#left === 0 && !this.#continues;
    if (this.#left === 0) this.#headerFill = 0;
    this.#onPart(part, last);
  }
}

/** A packet, ready to be sent. Content must be shorter than 16 MiB − 1: what a client sends here always is. */
export function framed(content: Uint8Array, sequence: number): Buffer {
  const packet = Buffer.alloc(HEADER_BYTES + content.length);
  packet.writeUIntLE(content.length, 0, 3);
  packet[3] = sequence & 0xff;
  packet.set(content, HEADER_BYTES);
  return packet;
}

/** Reads a packet's fields in order. Throws RangeError past its end. */
export class PacketReader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.at >= this.#bytes.length;
  }

  uint(length: 1 | 2 | 3 | 4): number {
    const value = this.#bytes.readUIntLE(this.at, length);
    this.at += length;
    return value;
  }

  bytes(length: number): Buffer {
    if (this.at + length > this.#bytes.length) throw new RangeError('a packet ends within a field');
    const value = this.#bytes.subarray(this.at, this.at + length);
    this.at += length;
    return value;
  }

  untilNul(): Buffer {
    const end = this.#bytes.indexOf(0, this.at);
    const value = this.#bytes.subarray(this.at, end < 0 ? this.#bytes.length : end);
    this.at = end < 0 ? this.#bytes.length : end + 1;
    return value;
  }

  rest(): Buffer {
    return this.bytes(this.#bytes.length - this.at);
  }

  /** A length-encoded integer; undefined: NULL. */
  lengthCoded(): number | undefined {
    const first = this.uint(1);
    if (first < 0xfb) return first;
    if (first === 0xfb) return undefined;
    if (first === 0xfc) return this.uint(2);
    if (first === 0xfd) return this.uint(3);
    const value = Number(this.#bytes.readBigUInt64LE(this.at));
    this.at += 8;
    return value;
  }

  /** A length-encoded string; undefined: NULL. */
  text(): Buffer | undefined {
    const length = this.lengthCoded();
    return length === undefined ? undefined : this.bytes(length);
  }
}
