// Grants and the MACs that walk along them. Pure.
//
// Hazard: all agents of a domain share its key, so what keeps a compromised host from reading another's data is this alone.
// A grant names one snapshot, one host and an end; only the controller can make one. What was served under a grant is named
// by a MAC over (grant, id), and only a reference of something so named can be asked for: reading reaches exactly what the
// granted root reaches. No state is kept, so any replica can go on serving.
//
// Layout: version u8 · record id 32 · domain 16 · host 16 · expiry u64 (controller's clock, ms) · random 16 · HMAC-SHA-256 32
//
// A log grant names one source and, for each stream of its log, the positions that may be read:
// version u8 = 2 · domain 16 · host 16 · source 16 · expiry u64 · random 16 · bounds, as JSON · HMAC-SHA-256 32
//
// Invariants (read.db.test.ts, log-read.db.test.ts): G1 any byte changed is refused; G2 another host, another domain, a later time are refused;
// G3 a MAC of another grant or another id is refused.

import { createHmac, timingSafeEqual } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Caller, LogBound } from './contract.ts';
import { uuidBytes, uuidText } from './pack-format.ts';

const VERSION = 1;
const LOG_VERSION = 2;
const BODY_BYTES = 89;
const GRANT_BYTES = BODY_BYTES + 32;
const MAC_BYTES = 32;

export interface OpenGrant {
  readonly recordId: Buffer;
  /** What MACs under this grant cover. */
  readonly grant: Buffer;
}

/** @param key 32 secret bytes, the same on all replicas; @param random 16 bytes */
export function makeGrant(
  key: Uint8Array,
  to: Caller,
  recordId: Uint8Array,
  expiresAtMs: number,
  random: Uint8Array,
): Buffer {
  const body = Buffer.alloc(BODY_BYTES);
  body.writeUInt8(VERSION, 0);
  body.set(recordId, 1);
  uuidBytes(to.domainId).copy(body, 33);
  uuidBytes(to.hostId).copy(body, 49);
  body.writeBigUInt64LE(BigInt(expiresAtMs), 65);
  body.set(random.subarray(0, 16), 73);
  return Buffer.concat([body, mac(key, 'grant', body)]);
}

/** Throws NOT_ALLOWED for a grant that is forged, expired, or another host's. One sentence for all: it tells nothing. */
export function checkGrant(key: Uint8Array, caller: Caller, grant: Uint8Array, nowMs: number): OpenGrant {
  const bytes = Buffer.from(grant);
  const body = bytes.subarray(0, BODY_BYTES);
  const genuine = bytes.length === GRANT_BYTES && timingSafeEqual(mac(key, 'grant', body), bytes.subarray(BODY_BYTES));
  const valid =
    genuine &&
    body.readUInt8(0) === VERSION &&
    body.subarray(33, 49).equals(uuidBytes(caller.domainId)) &&
    body.subarray(49, 65).equals(uuidBytes(caller.hostId)) &&
    body.readBigUInt64LE(65) > BigInt(nowMs);
  if (!valid) {
    throw refused();
  }
  return { recordId: Buffer.from(body.subarray(1, 33)), grant: bytes };
}

/** What an object served under a grant is named with. */
export function servedMac(key: Uint8Array, { grant }: OpenGrant, id: Uint8Array): Buffer {
  return mac(key, 'served', grant, id);
}

/** Throws NOT_ALLOWED unless `given` names an object that was served under this grant. */
export function checkServedMac(key: Uint8Array, grant: OpenGrant, id: Uint8Array, given: Uint8Array): void {
  if (given.length === MAC_BYTES && timingSafeEqual(servedMac(key, grant, id), given)) return;
  throw new HoldfastError('NOT_ALLOWED', 'the object named as parent was not served under this grant');
}

export interface OpenLogGrant {
  readonly sourceId: string;
  readonly bounds: readonly LogBound[];
}

const LOG_HEAD_BYTES = 73;
/** Streams that one restore goes through. */
const LOG_BOUNDS_MAX = 64;

/** @param random 16 bytes */
export function makeLogGrant(
  key: Uint8Array,
  to: Caller,
  { sourceId, bounds }: OpenLogGrant,
  expiresAtMs: number,
  random: Uint8Array,
): Buffer {
  if (bounds.length > LOG_BOUNDS_MAX) {
    throw new HoldfastError('LIMIT_EXCEEDED', `a way through more than ${LOG_BOUNDS_MAX} streams of a log`);
  }
  const head = Buffer.alloc(LOG_HEAD_BYTES);
  head.writeUInt8(LOG_VERSION, 0);
  uuidBytes(to.domainId).copy(head, 1);
  uuidBytes(to.hostId).copy(head, 17);
  uuidBytes(sourceId).copy(head, 33);
  head.writeBigUInt64LE(BigInt(expiresAtMs), 49);
  head.set(random.subarray(0, 16), 57);
  const list = bounds.map(({ stream, from, to: end }) => [
    stream.systemIdentifier,
    stream.timeline,
    String(from),
    String(end),
  ]);
  const body = Buffer.concat([head, Buffer.from(JSON.stringify(list))]);
  return Buffer.concat([body, mac(key, 'log-grant', body)]);
}

/** Throws NOT_ALLOWED, as checkGrant. */
export function checkLogGrant(key: Uint8Array, caller: Caller, grant: Uint8Array, nowMs: number): OpenLogGrant {
  const bytes = Buffer.from(grant);
  const body = bytes.subarray(0, Math.max(0, bytes.length - MAC_BYTES));
  const valid =
    body.length > LOG_HEAD_BYTES &&
    timingSafeEqual(mac(key, 'log-grant', body), bytes.subarray(body.length)) &&
    body.readUInt8(0) === LOG_VERSION &&
    body.subarray(1, 17).equals(uuidBytes(caller.domainId)) &&
    body.subarray(17, 33).equals(uuidBytes(caller.hostId)) &&
    body.readBigUInt64LE(49) > BigInt(nowMs);
  if (!valid) throw refused();
  // Only this controller can have written it.
  const list = JSON.parse(body.subarray(LOG_HEAD_BYTES).toString()) as [string, number, string, string][];
  const bounds = list.map(([systemIdentifier, timeline, from, to]) => ({
    stream: { systemIdentifier, timeline },
    from: BigInt(from),
    to: BigInt(to),
  }));
  return { sourceId: uuidText(body.subarray(33, 49)), bounds };
}

function refused(): HoldfastError {
  return new HoldfastError('NOT_ALLOWED', 'this grant does not allow this host to read', {
    hint: 'Ask for a new one.',
  });
}

function mac(key: Uint8Array, label: string, ...parts: readonly Uint8Array[]): Buffer {
  const hmac = createHmac('sha256', key);
  // Labels have no NUL, and each label is followed by parts of fixed lengths: no two inputs coincide.
  hmac.update(`holdfast ${label}\0`);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}
