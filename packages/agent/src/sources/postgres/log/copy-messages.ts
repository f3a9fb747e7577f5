// Messages within a physical replication stream, from the server and to it. Pure.
//
// Source: PostgreSQL's documentation, "Streaming Replication Protocol": XLogData (w), Primary keepalive message (k), Standby
// status update (r). Integers are big-endian; times are microseconds since 2000-01-01 on the sender's clock.

import { HoldfastError } from '@holdfast/shared/base/errors';

export type ServerMessage =
  | {
      readonly kind: 'data';
      /** LSN of the first byte. */
      readonly start: bigint;
      /** The end of what the server had flushed when it sent this. */
      readonly serverEnd: bigint;
      /** Server's clock, Unix ms. */
      readonly sentAtMs: number;
      /** A view into the message: copy what is kept. */
      readonly bytes: Buffer;
    }
  | {
      readonly kind: 'keepalive';
      /** The end of what the server has sent. */
      readonly serverEnd: bigint;
      readonly sentAtMs: number;
      readonly replyWanted: boolean;
    };

const UNIX_MS_OF_2000 = 946_684_800_000;
const DATA_HEADER_BYTES = 25;
const KEEPALIVE_BYTES = 18;
const STATUS_BYTES = 34;

/** A server's timestamp (TimestampTz) as Unix ms with its fraction. */
export function unixMs(microsecondsSince2000: bigint): number {
  return Number(microsecondsSince2000) / 1000 + UNIX_MS_OF_2000;
}

/** Throws PROTOCOL_VIOLATION. */
export function readServerMessage(message: Buffer): ServerMessage {
  const type = message[0];
  if (type === 0x77 && message.length >= DATA_HEADER_BYTES) {
    return {
      kind: 'data',
      start: message.readBigUInt64BE(1),
      serverEnd: message.readBigUInt64BE(9),
      sentAtMs: unixMs(message.readBigInt64BE(17)),
      bytes: message.subarray(DATA_HEADER_BYTES),
    };
  }
  if (type === 0x6b && message.length >= KEEPALIVE_BYTES) {
    return {
      kind: 'keepalive',
      serverEnd: message.readBigUInt64BE(1),
      sentAtMs: unixMs(message.readBigInt64BE(9)),
      replyWanted: message[17] === 1,
    };
  }
  throw new HoldfastError('PROTOCOL_VIOLATION', 'the server sent a replication message that is none');
}

export interface StatusUpdate {
  /** Received up to here. */
  readonly written: bigint;
  /** Safe up to here: the server may forget what is before. */
  readonly flushed: bigint;
  readonly nowMs: number;
  /** The server answers with a keepalive at once. */
  readonly replyWanted: boolean;
}

/** Applied is never said (0): nothing is replayed here, and nobody shall wait for it. */
export function statusUpdate({ written, flushed, nowMs, replyWanted }: StatusUpdate): Buffer {
  const message = Buffer.alloc(STATUS_BYTES);
  message[0] = 0x72;
  message.writeBigUInt64BE(written, 1);
  message.writeBigUInt64BE(flushed, 9);
  message.writeBigInt64BE(BigInt(Math.round((nowMs - UNIX_MS_OF_2000) * 1000)), 25);
  message[33] = replyWanted ? 1 : 0;
  return message;
}
