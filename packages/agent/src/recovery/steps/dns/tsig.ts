// Signatures of name server messages under a shared key (TSIG).
//
// Hazards: an answer that somebody else gave in the server's place, or that answered an earlier question; a comparison whose time tells the
// signature. So an answer is signed with the question's own signature in it, and compared in constant time.
//
// Source: RFC 8945. Pure: time is an argument. Tested in tsig.test.ts, and against BIND in traffic-dns.test.ts.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { CLASS, decodeMessage, encodeRecord, TYPE, type DecodedRecord, type Message } from './message.ts';
import { canonicalName, decodeName, encodeName } from './names.ts';

export interface TsigKey {
  /** Canonical. */
  readonly name: string;
  readonly algorithm: 'hmac-sha256' | 'hmac-sha512';
  readonly secret: Buffer;
}

/** How far apart both clocks may be. */
const FUDGE_SECONDS = 300;
const ADDITIONAL_COUNT_AT = 10;
const ERRORS: Readonly<Record<number, string>> = {
  16: 'it refuses the signature (BADSIG): the secret of the key is another one there',
  17: 'it does not know the key (BADKEY): its name or algorithm is another one there',
  18: 'it refuses the time of the signature (BADTIME): the clocks of this host and the server differ',
  22: 'it refuses a signature that is cut off (BADTRUNC)',
};

/** "NAME ALGORITHM BASE64", as in a plan's secret. Throws INVALID_ARGUMENT, which never holds the secret. */
export function parseTsigKey(secret: Uint8Array, secretName: string): TsigKey {
  const [name = '', algorithm = '', base64 = '', ...rest] = Buffer.from(secret).toString('utf8').trim().split(/\s+/);
  const plain = algorithm.toLowerCase().replace(/\.$/, '');
  const bytes = Buffer.from(base64, 'base64');
  const sound = bytes.length > 0 && bytes.toString('base64').replace(/=+$/, '') === base64.replace(/=+$/, '');
  const known = plain === 'hmac-sha256' || plain === 'hmac-sha512';
  if (!known || !sound || rest.length > 0 || !/^[a-z0-9._-]{1,255}$/i.test(name)) {
    throw new HoldfastError('INVALID_ARGUMENT', `the secret ${secretName} is no TSIG key`, {
      hint: 'Write it as NAME ALGORITHM BASE64, with hmac-sha256 or hmac-sha512.',
    });
  }
  return { name: canonicalName(name), algorithm: plain, secret: bytes };
}

/** The message with its signature at its end, and the signature, which the answer's is made with. */
export function signMessage(message: Buffer, key: TsigKey, nowMs: number): { signed: Buffer; mac: Buffer } {
  const seconds = Math.floor(nowMs / 1000);
  const mac = macOf(key, [message, variables(key, seconds, FUDGE_SECONDS, 0, Buffer.alloc(0))]);
  const data = Buffer.concat([
    encodeName(`${key.algorithm}.`),
    timeAndFudge(seconds, FUDGE_SECONDS),
    uint16(mac.length),
    mac,
    message.subarray(0, 2),
    uint16(0),
    uint16(0),
  ]);
  const signed = Buffer.concat([
    message,
    encodeRecord({ name: key.name, type: TYPE.TSIG, class: CLASS.ANY, ttl: 0, data }),
  ]);
  signed.writeUInt16BE(message.readUInt16BE(ADDITIONAL_COUNT_AT) + 1, ADDITIONAL_COUNT_AT);
  return { signed, mac };
}

export function isSigned(message: Message): boolean {
  return message.additional.at(-1)?.type === TYPE.TSIG;
}

/**
 * Throws NOT_ALLOWED when the server refused the signature, UNAUTHENTICATED for an answer that is not signed, or not by the key.
 * @param mac of the question
 */
export function verifyAnswer(answer: Buffer, mac: Buffer, key: TsigKey, nowMs: number): void {
  const record = decodeMessage(answer).additional.at(-1);
  if (record?.type !== TYPE.TSIG) throw unsigned('it is not signed');
  const tsig = decodeTsig(answer, record);
  const refusal = ERRORS[tsig.error];
  if (refusal !== undefined) throw new HoldfastError('NOT_ALLOWED', refusal);
  if (record.name !== key.name || tsig.algorithm !== `${key.algorithm}.`) throw unsigned('it is signed by another key');
  const message = Buffer.from(answer.subarray(0, record.at));
  message.writeUInt16BE(message.readUInt16BE(ADDITIONAL_COUNT_AT) - 1, ADDITIONAL_COUNT_AT);
  message.writeUInt16BE(tsig.originalId, 0);
  const signedParts = [
    uint16(mac.length),
    mac,
    message,
    variables(key, tsig.seconds, tsig.fudge, tsig.error, tsig.other),
  ];
  const expected = macOf(key, signedParts);
  if (tsig.mac.length !== expected.length || !timingSafeEqual(tsig.mac, expected))
    throw unsigned('its signature is wrong');
  if (Math.abs(Math.floor(nowMs / 1000) - tsig.seconds) > tsig.fudge)
    throw unsigned('its signature is too old, or too new');
}

interface Tsig {
  readonly algorithm: string;
  readonly seconds: number;
  readonly fudge: number;
  readonly mac: Buffer;
  readonly originalId: number;
  readonly error: number;
  readonly other: Buffer;
}

function decodeTsig(message: Buffer, { data, dataAt }: DecodedRecord): Tsig {
  const { name: algorithm, end } = decodeName(message, dataAt);
  const at = end - dataAt;
  const need = (bytes: number): void => {
    if (at + bytes > data.length) throw unsigned('its signature is cut off');
  };
  need(10);
  const macBytes = data.readUInt16BE(at + 8);
  need(10 + macBytes + 6);
  const rest = at + 10 + macBytes;
  const otherBytes = data.readUInt16BE(rest + 4);
  need(10 + macBytes + 6 + otherBytes);
  return {
    algorithm,
    seconds: data.readUIntBE(at, 6),
    fudge: data.readUInt16BE(at + 6),
    mac: data.subarray(at + 10, rest),
    originalId: data.readUInt16BE(rest),
    error: data.readUInt16BE(rest + 2),
    other: data.subarray(rest + 6, rest + 6 + otherBytes),
  };
}

/** RFC 8945, 4.3.3. */
function variables(key: TsigKey, seconds: number, fudge: number, error: number, other: Buffer): Buffer {
  return Buffer.concat([
    encodeName(key.name),
    uint16(CLASS.ANY),
    Buffer.alloc(4),
    encodeName(`${key.algorithm}.`),
    timeAndFudge(seconds, fudge),
    uint16(error),
    uint16(other.length),
    other,
  ]);
}

function macOf({ algorithm, secret }: TsigKey, parts: readonly Buffer[]): Buffer {
  const hmac = createHmac(algorithm === 'hmac-sha256' ? 'sha256' : 'sha512', secret);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

function timeAndFudge(seconds: number, fudge: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntBE(seconds, 0, 6);
  bytes.writeUInt16BE(fudge, 6);
  return bytes;
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value, 0);
  return bytes;
}

function unsigned(why: string): HoldfastError {
  return new HoldfastError('UNAUTHENTICATED', `the name server's answer can't be trusted: ${why}`);
}
