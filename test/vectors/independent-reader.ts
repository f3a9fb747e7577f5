// A second reader of the repository format, written from docs/repository-format.md alone.
//
// Hazard: test vectors that are computed and checked by the same code prove only that it agrees with itself. This reader
// shares not one line with packages/shared: what it reads, any outsider can. It is short rather than fast, and it trusts
// its input where the real one must not.

import { createDecipheriv, createHash, createHmac, createPublicKey, verify } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';

export const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
const hmac = (secret: Uint8Array, ...parts: Uint8Array[]): Buffer => {
  const mac = createHmac('sha256', secret);
  for (const part of parts) mac.update(part);
  return mac.digest();
};

/** HKDF-SHA-256, written out (RFC 5869). */
function hkdf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  const prk = hmac(salt.length === 0 ? Buffer.alloc(32) : salt, secret);
  let out = Buffer.alloc(0);
  let block = Buffer.alloc(0);
  for (let n = 1; out.length < length; n++) {
    block = Buffer.from(hmac(prk, block, info, Buffer.of(n)));
    out = Buffer.concat([out, block]);
  }
  return out.subarray(0, length);
}

export function key(purpose: string, master: Uint8Array, domainId: string, epoch?: number): Buffer {
  const epochBytes = epoch === undefined ? [] : [epoch & 0xff, epoch >> 8];
  const info = Buffer.concat([Buffer.from(`${purpose}\0${domainId}\0`), Buffer.from(epochBytes)]);
  return hkdf(master, Buffer.from('holdfast repository format 1'), info, 32);
}

export const gear = (gearKey: Uint8Array): number[] => {
  const bytes = hkdf(gearKey, Buffer.alloc(0), Buffer.from('gear table'), 1024);
  return Array.from({ length: 256 }, (_, i) => bytes.readUInt32LE(i * 4));
};

export interface ReadEnvelope {
  kind: number;
  keyEpoch: number;
  references: string[];
  codec: number;
  plain: Buffer;
  proof: string;
}

export function readEnvelope(envelope: Buffer, master: Uint8Array, domainId: string): ReadEnvelope {
  if (envelope.toString('latin1', 0, 3) !== 'HF\x01') throw new Error('not an envelope of version 1');
  const keyEpoch = envelope.readUInt16LE(4);
  const count = envelope.readUInt32LE(8);
  const siv = envelope.subarray(12, 44);
  const refs = envelope.subarray(44, 44 + 32 * count);
  const cipher = createDecipheriv('aes-256-ctr', key('enc', master, domainId, keyEpoch), siv.subarray(0, 16));
  const payload = cipher.update(envelope.subarray(44 + 32 * count));
  const expected = hmac(key('mac', master, domainId, keyEpoch), envelope.subarray(0, 12), refs, payload);
  if (!expected.equals(siv)) throw new Error('the synthetic IV does not fit');
  const packed = payload.subarray(9, 9 + payload.readUInt32LE(1));
  const plain = unpack(payload[0]!, packed);
  if (plain.length !== payload.readUInt32LE(5)) throw new Error('another length than declared');
  return {
    kind: envelope[3]!,
    keyEpoch,
    references: Array.from({ length: count }, (_, i) => refs.toString('hex', i * 32, i * 32 + 32)),
    codec: payload[0]!,
    plain,
    proof: siv.toString('hex', 16),
  };
}

function unpack(codec: number, packed: Buffer): Buffer {
  if (codec === 0) return packed;
  return codec === 1 ? unpackLz4(packed) : zstdDecompressSync(packed);
}

/** LZ4 block format (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md). */
function unpackLz4(block: Buffer): Buffer {
  const out: number[] = [];
  let at = 0;
  const extended = (length: number): number => {
    let total = length;
    for (let more = length === 15 ? 255 : 0; more === 255; total += more) more = block[at++]!;
    return total;
  };
  while (at < block.length) {
    const token = block[at++]!;
    for (let n = extended(token >> 4); n > 0; n--) out.push(block[at++]!);
    if (at === block.length) break;
    const distance = block.readUInt16LE(at);
    at += 2;
    for (let n = extended(token & 15) + 4; n > 0; n--) out.push(out[out.length - distance]!);
  }
  return Buffer.from(out);
}

/** Lengths of a file's pieces, in order; zeros pieces are negative. */
export function pieces(content: Buffer, table: readonly number[]): number[] {
  const KIB = 1024;
  const lengths: number[] = [];
  for (let from = 0; from < content.length;) {
    let zeros = 0;
    while (from + zeros < content.length && content[from + zeros] === 0) zeros++;
    const length = zeros >= 256 * KIB ? zeros : chunkLength(content.subarray(from), table);
    lengths.push(zeros >= 256 * KIB ? -zeros : length);
    from += length;
  }
  return lengths;
}

function chunkLength(rest: Buffer, table: readonly number[]): number {
  const KIB = 1024;
  const longest = Math.min(rest.length, 4096 * KIB);
  let hash = 0;
  for (let length = 256 * KIB; length < longest; length++) {
    if (length % (64 * KIB) === 0 && length <= (4096 - 256) * KIB) {
      const ahead = rest.subarray(length, length + 256 * KIB);
      if (ahead.length === 256 * KIB && !ahead.some((byte) => byte !== 0)) return length;
    }
    hash = (hash * 2 + table[rest[length]!]!) % 2 ** 32;
    if (hash < 2 ** (length < 832 * KIB ? 10 : 14)) return length + 1;
  }
  return longest;
}

export function bundleCloses(length: number, tag: Buffer): boolean {
  if (length >= 2_097_152) return true;
  return length >= 65_536 && BigInt(tag.readUInt32LE(0)) * 4_194_304n < 4_294_967_296n * BigInt(length);
}

/** The length-delimited fields of a protobuf message, by number, first occurrence; enough for a snapshot record. */
function bytesFields(message: Buffer): Map<number, Buffer> {
  const fields = new Map<number, Buffer>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const head = varint();
    const value = varint();
    if ((head & 7) !== 2) continue;
    if (!fields.has(head >> 3)) fields.set(head >> 3, message.subarray(at, at + value));
    at += value;
  }
  return fields;
}

/** Whether a snapshot record's payload is signed by the key (raw, 32 bytes) for these references; and its texts. */
export function readSnapshotRecord(
  payload: Buffer,
  references: Buffer,
  publicKey: Buffer,
): { signed: boolean; domainId: string; hostId: string; sourceId: string } {
  const record = bytesFields(payload);
  const body = record.get(1)!;
  const count = Buffer.alloc(4);
  count.writeUInt32LE(references.length / 32);
  const message = Buffer.concat([Buffer.from('holdfast snapshot record 1\0'), count, references, body]);
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKey]);
  const keyObject = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const text = (field: number): string => bytesFields(body).get(field)?.toString() ?? '';
  return {
    signed: verify(null, message, keyObject, record.get(2)!),
    domainId: text(2),
    hostId: text(3),
    sourceId: text(4),
  };
}

/** What a commit record's payload says of whose snapshot it is; undefined for a controller record of another kind. */
export function readCommitRecord(
  payload: Buffer,
): { snapshotId: string; domainName: string; hostName: string; sourceName: string; sourceSpec: string } | undefined {
  const commit = bytesFields(payload).get(2);
  if (commit === undefined) return undefined;
  const fields = bytesFields(commit);
  const bytes = (field: number): Buffer => fields.get(field) ?? Buffer.alloc(0);
  return {
    snapshotId: bytes(1).toString('hex'),
    domainName: bytes(15).toString(),
    hostName: bytes(4).toString(),
    sourceName: bytes(6).toString(),
    sourceSpec: bytes(18).toString('hex'),
  };
}
