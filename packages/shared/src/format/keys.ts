// A domain's keys: what its 32-byte master secret expands to.
//
// Hazard: two keys that are equal where they must differ. One key for two purposes lets a tag be taken for a MAC; one key
// for two domains makes their objects comparable, which is the deduplication oracle that domains exist to prevent.
//
// Invariants (keys.property.test.ts):
//   K1 every key depends on the master secret, the domain's id and its purpose; no two of them are ever equal;
//   K2 mac and enc change with the key epoch; tag, gear and node never do, because tags and boundaries must stay comparable
//      across a rotation.
//
// Elsewhere on purpose: where the secret lives and who may have it (the agent's identity, the controller's fleet).

import { hkdfSync } from 'node:crypto';
import { HoldfastError } from '../base/errors.ts';

/** 32 bytes each. Survives structuredClone and postMessage to a worker thread. */
export interface DomainKeys {
  readonly epoch: number;
  /** K_mac: the synthetic IV of envelopes. */
  readonly mac: Uint8Array;
  /** K_enc: AES-256-CTR. */
  readonly enc: Uint8Array;
  /** K_tag: tags of plain content. */
  readonly tag: Uint8Array;
  /** K_gear: the chunker's gear table. */
  readonly gear: Uint8Array;
  /** K_node: the boundaries of manifest nodes. */
  readonly node: Uint8Array;
}

/** The reserved domain whose keys seal what belongs to no customer: controller records and catalog backups. */
export const SYSTEM_DOMAIN_ID = 'holdfast-system';

export const MASTER_SECRET_BYTES = 32;
export const MAX_KEY_EPOCH = 0xffff;

/**
 * All keys of a domain in one epoch (0–65,535). HKDF-SHA-256 (RFC 5869); docs/repository-format.md has salt and labels.
 * Throws INVALID_ARGUMENT when the secret is not 32 bytes, the epoch is out of range, or the domain's id is empty, over
 * 255 bytes of UTF-8, or has a NUL in it.
 */
export function deriveDomainKeys(masterSecret: Uint8Array, domainId: string, epoch: number): DomainKeys {
  if (masterSecret.length !== MASTER_SECRET_BYTES) {
    throw new HoldfastError('INVALID_ARGUMENT', `a domain's master secret has 32 bytes, not ${masterSecret.length}`);
  }
  if (!Number.isInteger(epoch) || epoch < 0 || epoch > MAX_KEY_EPOCH) {
    throw new HoldfastError(
      'INVALID_ARGUMENT',
      `a key epoch is a whole number from 0 to ${MAX_KEY_EPOCH}, not ${epoch}`,
    );
  }
  const domain = Buffer.from(domainId, 'utf8');
  if (domain.length === 0 || domain.length > MAX_DOMAIN_ID_BYTES || domain.includes(0)) {
    throw new HoldfastError('INVALID_ARGUMENT', "a domain's id has 1 to 255 bytes of UTF-8 and no NUL");
  }

  const expand = (purpose: string, epochBytes: Buffer): Uint8Array => {
    const info = Buffer.concat([Buffer.from(purpose, 'ascii'), NUL, domain, NUL, epochBytes]);
    return new Uint8Array(hkdfSync('sha256', masterSecret, HKDF_SALT, info, DERIVED_KEY_BYTES));
  };
  const rotating = Buffer.alloc(2);
  rotating.writeUInt16LE(epoch);
  return {
    epoch,
    mac: expand('mac', rotating),
    enc: expand('enc', rotating),
    tag: expand('tag', NONE),
    gear: expand('gear', NONE),
    node: expand('node', NONE),
  };
}

const HKDF_SALT = Buffer.from('holdfast repository format 1', 'ascii');
const DERIVED_KEY_BYTES = 32;
const MAX_DOMAIN_ID_BYTES = 255;
const NUL = Buffer.of(0);
const NONE = Buffer.alloc(0);
