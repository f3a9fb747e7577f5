// Grants and the MACs that walk along them. Pure.
//
// Hazard: all agents of a domain share its key, so what keeps a compromised host from reading another's data is this alone.
// A grant names one snapshot, one host and an end; only the controller can make one. What was served under a grant is named
// by a MAC over (grant, id), and only a reference of something so named can be asked for: reading reaches exactly what the
// granted root reaches. No state is kept, so any replica can go on serving.
//
// Layout: version u8 · record id 32 · domain 16 · host 16 · expiry u64 (controller's clock, ms) · random 16 · HMAC-SHA-256 32
//
// Invariants (read.db.test.ts): G1 any byte changed is refused; G2 another host, another domain, a later time are refused;
// G3 a MAC of another grant or another id is refused.

import { createHmac, timingSafeEqual } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Caller } from './contract.ts';
import { uuidBytes } from './pack-format.ts';

const VERSION = 1;
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
    throw new HoldfastError('NOT_ALLOWED', 'this grant does not allow this host to read', {
      hint: 'Ask for a new one.',
    });
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

function mac(key: Uint8Array, label: string, ...parts: readonly Uint8Array[]): Buffer {
  const hmac = createHmac('sha256', key);
  // Labels have no NUL, and each label is followed by parts of fixed lengths: no two inputs coincide.
  hmac.update(`holdfast ${label}\0`);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}
