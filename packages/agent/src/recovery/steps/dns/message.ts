// Messages of the domain name system: questions, dynamic updates (RFC 2136) and their answers.
//
// Hazard: an answer comes from a network. Whatever counts or points in it is held against its length.
//
// Source: RFC 1035, 4.1; RFC 2136, 2. Pure. Tested in message.property.test.ts, and against BIND in traffic-dns.test.ts.

import { isIPv4 } from 'node:net';
import { canonicalAddress } from '@holdfast/shared/recovery/service-address';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { decodeName, encodeName } from './names.ts';

export const TYPE = { A: 1, CNAME: 5, SOA: 6, AAAA: 28, TSIG: 250, ANY: 255 } as const;
export const CLASS = { IN: 1, ANY: 255 } as const;
export const OPCODE = { QUERY: 0, UPDATE: 5 } as const;
/** Larger than any message. */
export const MESSAGE_MAX_BYTES = 65_535;
const HEADER_BYTES = 12;
/** TYPE, CLASS, TTL, length. */
const RECORD_FIXED_BYTES = 10;

export interface Question {
  /** Canonical. */
  readonly name: string;
  readonly type: number;
}

export interface ResourceRecord {
  /** Canonical. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly data: Buffer;
}

export interface DecodedRecord extends ResourceRecord {
  /** Where it stands in the message, and where its data does. */
  readonly at: number;
  readonly dataAt: number;
}

export interface Message {
  readonly id: number;
  readonly isAnswer: boolean;
  readonly opcode: number;
  readonly authoritative: boolean;
  readonly rcode: number;
  readonly questions: readonly Question[];
  readonly answers: readonly DecodedRecord[];
  readonly authority: readonly DecodedRecord[];
  readonly additional: readonly DecodedRecord[];
}

/** A question to a server that knows the answer itself. */
export function encodeQuery(id: number, question: Question): Buffer {
  return Buffer.concat([header(id, OPCODE.QUERY, [1, 0, 0, 0]), encodeQuestion(question)]);
}

/** All of `changes`, or none. */
export function encodeUpdate(id: number, zone: string, changes: readonly ResourceRecord[]): Buffer {
  const question = encodeQuestion({ name: zone, type: TYPE.SOA });
  return Buffer.concat([header(id, OPCODE.UPDATE, [1, 0, changes.length, 0]), question, ...changes.map(encodeRecord)]);
}

/** RFC 2136, 2.5.2. */
export function deleteRecords(name: string, type: number): ResourceRecord {
  return { name, type, class: CLASS.ANY, ttl: 0, data: Buffer.alloc(0) };
}

export function addressRecord(name: string, ttl: number, address: string): ResourceRecord {
  const type = isIPv4(address) ? TYPE.A : TYPE.AAAA;
  return { name, type, class: CLASS.IN, ttl, data: addressBytes(address) };
}

export function encodeRecord({ name, type, class: cls, ttl, data }: ResourceRecord): Buffer {
  const fixed = Buffer.alloc(RECORD_FIXED_BYTES);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(cls, 2);
  fixed.writeUInt32BE(ttl, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([encodeName(name), fixed, data]);
}

/** Throws PROTOCOL_VIOLATION. */
export function decodeMessage(bytes: Buffer): Message {
  if (bytes.length < HEADER_BYTES || bytes.length > MESSAGE_MAX_BYTES) throw broken();
  const flags = bytes.readUInt16BE(2);
  const count = (index: number): number => bytes.readUInt16BE(4 + 2 * index);
  let at = HEADER_BYTES;
  const questions: Question[] = [];
  for (let left = count(0); left > 0; left--) {
    const { name, end } = decodeName(bytes, at);
    if (end + 4 > bytes.length) throw broken();
    questions.push({ name, type: bytes.readUInt16BE(end) });
    at = end + 4;
  }
  const section = (index: number): DecodedRecord[] => {
    const records: DecodedRecord[] = [];
    for (let left = count(index); left > 0; left--) {
      const record = decodeRecord(bytes, at);
      records.push(record);
      at = record.dataAt + record.data.length;
    }
    return records;
  };
  const answers = section(1);
  const authority = section(2);
  const additional = section(3);
  if (at !== bytes.length) throw broken();
  return {
    id: bytes.readUInt16BE(0),
    isAnswer: (flags & 0x8000) !== 0,
    opcode: (flags >> 11) & 15,
    authoritative: (flags & 0x0400) !== 0,
    rcode: flags & 15,
    questions,
    answers,
    authority,
    additional,
  };
}

function decodeRecord(bytes: Buffer, at: number): DecodedRecord {
  const { name, end } = decodeName(bytes, at);
  const dataAt = end + RECORD_FIXED_BYTES;
  if (dataAt > bytes.length) throw broken();
  const length = bytes.readUInt16BE(end + 8);
  if (dataAt + length > bytes.length) throw broken();
  return {
    name,
    type: bytes.readUInt16BE(end),
    class: bytes.readUInt16BE(end + 2),
    ttl: bytes.readUInt32BE(end + 4),
    data: bytes.subarray(dataAt, dataAt + length),
    at,
    dataAt,
  };
}

/** Of an A or AAAA record, as `canonicalAddress` writes it. Throws PROTOCOL_VIOLATION. */
export function addressOf({ type, data }: ResourceRecord): string {
  if (data.length !== (type === TYPE.A ? 4 : 16)) throw broken();
  if (type === TYPE.A) return [...data].join('.');
  const groups = Array.from({ length: 8 }, (_, index) => data.readUInt16BE(2 * index).toString(16));
  return canonicalAddress(groups.join(':'));
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = canonicalAddress(address).split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const after = tail === undefined ? [] : groups(tail);
  const before = groups(head);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const bytes = Buffer.alloc(16);
  [...before, ...zeros, ...after].forEach((group, index) => bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * index));
  return bytes;
}

function header(id: number, opcode: number, counts: readonly [number, number, number, number]): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt16BE(id, 0);
  bytes.writeUInt16BE(opcode << 11, 2);
  counts.forEach((count, index) => bytes.writeUInt16BE(count, 4 + 2 * index));
  return bytes;
}

function encodeQuestion({ name, type }: Question): Buffer {
  const fixed = Buffer.alloc(4);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(CLASS.IN, 2);
  return Buffer.concat([encodeName(name), fixed]);
}

function broken(): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', 'the name server sent a message that is cut off or has too much');
}
