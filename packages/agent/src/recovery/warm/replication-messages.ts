// The server's side of PostgreSQL's replication protocol, as much of it as a standby's receiver speaks. Pure: bytes in, messages out.
//
// Source: https://www.postgresql.org/docs/current/protocol-replication.html and protocol-message-formats.html; what ends a timeline is
// StartReplication in src/backend/replication/walsender.c.
//
// Invariants (replication-messages.test.ts): RM1 however the bytes arrive, the messages are the same; RM2 a length that no receiver sends is
// refused before anything is kept.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { parseLsn } from '../../sources/postgres/log/lsn.ts';

export type FromStandby =
  | { readonly kind: 'startup' }
  | { readonly kind: 'identify' }
  | { readonly kind: 'history'; readonly timeline: number }
  | { readonly kind: 'start'; readonly at: bigint; readonly timeline: number }
  | { readonly kind: 'status'; readonly flushed: bigint; readonly applied: bigint }
  | { readonly kind: 'copy-done' }
  | { readonly kind: 'end' }
  | { readonly kind: 'other'; readonly text: string };

/** Queries are short; feedback is of fixed size. */
const MESSAGE_MAX = 64 * 1024;
const PROTOCOL_3 = 3 << 16;
/** What asks whether the connection may be encrypted. */
const ENCRYPTION_ASKED = new Set([80877103, 80877104]);
/** Microseconds from 1970 to PostgreSQL's epoch, 2000. */
const EPOCH_US = 946_684_800_000_000n;

/** Cuts a connection's bytes into messages. */
export class MessageReader {
  #rest: Buffer = Buffer.alloc(0);
  #started = false;

  /** Throws PROTOCOL_VIOLATION. */
  take(chunk: Buffer): FromStandby[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const messages: FromStandby[] = [];
    for (;;) {
      const head = this.#started ? 1 : 0;
      if (this.#rest.length < head + 4) return messages;
      const length = this.#rest.readUInt32BE(head);
      if (length < 4 || length > MESSAGE_MAX) throw violation('a message of a length that is none');
      if (this.#rest.length < head + length) return messages;
      const body = this.#rest.subarray(head + 4, head + length);
      const found = this.#started ? messageOf(this.#rest[0] ?? 0, body) : this.#startup(body);
      this.#rest = this.#rest.subarray(head + length);
      messages.push(found);
    }
  }

  #startup(body: Buffer): FromStandby {
    if (body.length < 4) throw violation('a beginning that is none');
    const code = body.readUInt32BE(0);
    if (ENCRYPTION_ASKED.has(code)) throw violation('an encrypted connection on a socket of this host');
    // Minor versions are the receiver's to bring down.
    if (code >>> 16 !== PROTOCOL_3 >>> 16) throw violation('another version of the protocol');
    this.#started = true;
    return { kind: 'startup' };
  }
}

function messageOf(type: number, body: Buffer): FromStandby {
  switch (String.fromCharCode(type)) {
    case 'Q':
      return queryOf(body.subarray(0, -1).toString('utf8'));
    case 'd':
      return copyDataOf(body);
    case 'c':
      return { kind: 'copy-done' };
    case 'X':
      return { kind: 'end' };
    default:
      return { kind: 'other', text: String.fromCharCode(type) };
  }
}

function queryOf(query: string): FromStandby {
  if (/^\s*IDENTIFY_SYSTEM\s*;?\s*$/i.test(query)) return { kind: 'identify' };
  const history = /^\s*TIMELINE_HISTORY\s+(\d{1,10})\s*;?\s*$/i.exec(query);
  if (history !== null) return { kind: 'history', timeline: Number(history[1]) };
  const start = /^\s*START_REPLICATION\s+(?:PHYSICAL\s+)?([0-9A-F]+\/[0-9A-F]+)\s+TIMELINE\s+(\d{1,10})\s*;?\s*$/i.exec(
    query,
  );
  if (start !== null) return { kind: 'start', at: parseLsn(start[1] ?? ''), timeline: Number(start[2]) };
  return { kind: 'other', text: query.slice(0, 200) };
}

function copyDataOf(body: Buffer): FromStandby {
  // Reply: r · written · flushed · applied · time · wants an answer
  if (body[0] !== 0x72 || body.length < 34) return { kind: 'other', text: 'feedback' };
  return { kind: 'status', flushed: body.readBigUInt64BE(9), applied: body.readBigUInt64BE(17) };
}

/** Authenticated, and ready for a query. */
export function welcome(serverVersion: string): Buffer {
  const parameters = {
    server_version: serverVersion,
    client_encoding: 'UTF8',
    server_encoding: 'UTF8',
    integer_datetimes: 'on',
  };
  return Buffer.concat([
    message('R', int32(0)),
    ...Object.entries(parameters).map(([name, value]) => message('S', text(name), text(value))),
    ready(),
  ]);
}

export function ready(): Buffer {
  return message('Z', Buffer.from('I'));
}

/** One row, and the end of the command. */
export function row(
  columns: readonly (readonly [name: string, value: Buffer | string | undefined])[],
  tag: string,
): Buffer {
  return Buffer.concat([rowOf(columns), message('C', text(tag))]);
}

export function beginCopy(): Buffer {
  return message('W', Buffer.from([0]), int16(0));
}

/** A part of the log, beginning at `start`. @param end of what there is to send, as far as is known */
export function walData(start: bigint, end: bigint, wallMs: number, bytes: Buffer): Buffer {
  return message('d', Buffer.from('w'), int64(start), int64(end), int64(timeOf(wallMs)), bytes);
}

export function keepalive(end: bigint, wallMs: number, wantsReply: boolean): Buffer {
  return message('d', Buffer.from('k'), int64(end), int64(timeOf(wallMs)), Buffer.from([wantsReply ? 1 : 0]));
}

/** No more on this timeline. */
export function endCopy(): Buffer {
  return message('c');
}

/** After the receiver has ended its side, too: where the log goes on. */
export function nextTimeline(timeline: number, at: string): Buffer {
  const next = rowOf([
    ['next_tli', String(timeline)],
    ['next_tli_startpos', at],
  ]);
  return Buffer.concat([next, message('C', text('START_STREAMING')), message('C', text('START_REPLICATION')), ready()]);
}

export function refusal(sentence: string): Buffer {
  const fields = [`SERROR`, 'VERROR', 'C0A000', `M${sentence}`].map(text);
  return message('E', ...fields, Buffer.from([0]));
}

function rowOf(columns: readonly (readonly [name: string, value: Buffer | string | undefined])[]): Buffer {
  const descriptions = columns.map(([name]) =>
    // No table; type text; any length.
    Buffer.concat([text(name), int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)]),
  );
  const values = columns.map(([, value]) => {
    if (value === undefined) return int32(-1);
    const bytes = Buffer.from(value);
    return Buffer.concat([int32(bytes.length), bytes]);
  });
  return Buffer.concat([
    message('T', int16(columns.length), ...descriptions),
    message('D', int16(columns.length), ...values),
  ]);
}

function message(type: string, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  return Buffer.concat([Buffer.from(type), int32(length), ...parts]);
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

function timeOf(wallMs: number): bigint {
  return BigInt(Math.round(wallMs)) * 1000n - EPOCH_US;
}

function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the standby sent ${what}`);
}
