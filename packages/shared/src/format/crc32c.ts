// CRC-32C (Castagnoli), as PostgreSQL checks its log and its backups with it. Against accidents alone: it proves nothing to an enemy.
//
// What a checksum becomes is linear in what it is made of: the register over a whole file is the sum (XOR) of the registers over its
// parts, each moved on by as many zero bytes as follow it. So parts may be added up in any order.
//
// Source: slicing-by-8 of Kounavis and Berry (2005); moving on by powers of a matrix as zlib's crc32_combine does it. Pure.
// Tested in crc32c.test.ts.

/** Its bits in reverse. */
const POLYNOMIAL = 0x82f6_3b78;
const SLICES = 8;

/** TABLES[n × 256 + byte]: the register after the byte and n zero bytes. */
const TABLES = new Uint32Array(SLICES * 256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  TABLES[byte] = value;
}
for (let at = 256; at < TABLES.length; at++) {
  const before = TABLES[at - 256]!;
  TABLES[at] = TABLES[before & 0xff]! ^ (before >>> 8);
}

/** The register after `bytes`. It begins with 0 for a part, or with 0xffffffff, of which the checksum is the complement. */
export function crc32cRegister(register: number, bytes: Uint8Array): number {
  let value = register;
  let at = 0;
  for (const end = bytes.length - (bytes.length % SLICES); at < end; at += SLICES) {
    value ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    value =
      TABLES[1792 + (value & 0xff)]! ^
      TABLES[1536 + ((value >>> 8) & 0xff)]! ^
      TABLES[1280 + ((value >>> 16) & 0xff)]! ^
      TABLES[1024 + (value >>> 24)]! ^
      TABLES[768 + bytes[at + 4]!]! ^
      TABLES[512 + bytes[at + 5]!]! ^
      TABLES[256 + bytes[at + 6]!]! ^
      TABLES[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) value = TABLES[(value ^ bytes[at]!) & 0xff]! ^ (value >>> 8);
  return value >>> 0;
}

/** The register after so many zero bytes more. @param count up to 2^53 */
export function crc32cAfterZeros(register: number, count: number): number {
  let value = register;
  for (let power = 0, left = count; left > 0; power++, left = Math.floor(left / 2)) {
    if (left % 2 === 1) value = times(zeroBytes(power), value);
  }
  return value >>> 0;
}

/** Of a whole. @param register over it, begun with 0 */
export function crc32cOf(register: number, length: number): number {
  return (register ^ crc32cAfterZeros(0xffff_ffff, length) ^ 0xffff_ffff) >>> 0;
}

/** What 2^power zero bytes do to each bit of the register. */
const ZERO_BYTES: Uint32Array[] = [];

function zeroBytes(power: number): Uint32Array {
  if (ZERO_BYTES.length === 0) {
    ZERO_BYTES.push(Uint32Array.from({ length: 32 }, (_, bit) => crc32cRegister((1 << bit) >>> 0, Buffer.alloc(1))));
  }
  while (ZERO_BYTES.length <= power) {
    const last = ZERO_BYTES.at(-1)!;
    ZERO_BYTES.push(last.map((row) => times(last, row)));
  }
  return ZERO_BYTES[power]!;
}

function times(matrix: Uint32Array, vector: number): number {
  let sum = 0;
  for (let bit = 0, left = vector; left !== 0; bit++, left >>>= 1) if ((left & 1) === 1) sum ^= matrix[bit]!;
  return sum >>> 0;
}
