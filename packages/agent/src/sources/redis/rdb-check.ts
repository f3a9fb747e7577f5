// Is a stream a whole RDB? Its head says so, and the CRC of everything at its end.
//
// CRC-64 as Redis computes it: Jones' polynomial 0xad93d23594c935a9, reflected, initial value 0
// (https://github.com/redis/redis/blob/7.0/src/crc64.c says where it is from). Two 32-bit halves, for BigInt is 50 times slower.

import { HoldfastError } from '@holdfast/shared/base/errors';

const HEAD = /^REDIS\d{4}$/;
const HEAD_BYTES = 9;
const CRC_BYTES = 8;
const EOF_CODE = 0xff;

const { high: HIGH, low: LOW } = tables();

export class RdbCheck {
  #length = 0;
  #head = Buffer.alloc(0);
  #high = 0;
  #low = 0;
  /** The last bytes are not in the CRC until it is known that they are not the CRC itself. */
  #held = Buffer.alloc(0);
  #lastCode = 0;

  add(bytes: Buffer): void {
    this.#length += bytes.length;
    if (this.#head.length < HEAD_BYTES) {
      this.#head = Buffer.concat([this.#head, bytes.subarray(0, HEAD_BYTES - this.#head.length)]);
    }
    if (bytes.length >= CRC_BYTES) {
      this.#sum(this.#held);
      this.#sum(bytes.subarray(0, bytes.length - CRC_BYTES));
      this.#held = Buffer.from(bytes.subarray(-CRC_BYTES));
      return;
    }
    const all = Buffer.concat([this.#held, bytes]);
    this.#sum(all.subarray(0, Math.max(0, all.length - CRC_BYTES)));
    this.#held = Buffer.from(all.subarray(-CRC_BYTES));
  }

  /** Throws DAMAGED unless all that was added is one RDB. A CRC of 0 was switched off by the server's settings. */
  end(): void {
    if (!HEAD.test(this.#head.toString('latin1'))) throw damaged('it does not begin as one');
    if (this.#length < HEAD_BYTES + CRC_BYTES + 1 || this.#lastCode !== EOF_CODE) throw damaged('it breaks off');
    const low = this.#held.readUInt32LE(0);
    const high = this.#held.readUInt32LE(4);
    if (low === 0 && high === 0) return;
    if (low !== this.#low >>> 0 || high !== this.#high >>> 0) throw damaged('its checksum does not match');
  }

  #sum(bytes: Buffer): void {
    if (bytes.length === 0) return;
    let high = this.#high;
    let low = this.#low;
    for (let index = 0; index < bytes.length; index++) {
      const entry = (low ^ bytes[index]!) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ LOW[entry]!;
      high = (high >>> 8) ^ HIGH[entry]!;
    }
    this.#high = high;
    this.#low = low;
    this.#lastCode = bytes[bytes.length - 1]!;
  }
}

function tables(): { high: Int32Array; low: Int32Array } {
  const polynomial = reflected(0xad93d23594c935a9n);
  const high = new Int32Array(256);
  const low = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) value = (value & 1n) === 1n ? (value >> 1n) ^ polynomial : value >> 1n;
    high[byte] = Number(BigInt.asIntN(32, value >> 32n));
    low[byte] = Number(BigInt.asIntN(32, value));
  }
  return { high, low };
}

function reflected(value: bigint): bigint {
  let result = 0n;
  for (let bit = 0n; bit < 64n; bit++) result |= ((value >> bit) & 1n) << (63n - bit);
  return result;
}

function damaged(why: string): HoldfastError {
  return new HoldfastError('DAMAGED', `what the server sent is no whole database: ${why}`, {
    hint: 'No snapshot was made. Look into the server’s log.',
  });
}
