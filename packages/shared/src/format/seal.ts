// Sealing and opening: plain bytes ⇄ envelope.
import type { CodecName } from './codec.ts';
import type { ObjectKind } from './envelope.ts';
import type { DomainKeys } from './keys.ts';

export interface SealOptions {
  /** Default zstd. What does not shrink is stored whatever is asked. */
  readonly codec?: CodecName;
  /** Zstandard's level; default 1. */
  readonly level?: number;
  /** Padmé padding of the payload, so that lengths say less; default off. */
  readonly padding?: boolean;
}

export interface SealedObject {
  /** 32 bytes: SHA-256 of the envelope. */
  readonly id: Buffer<ArrayBuffer>;
  /** In an ArrayBuffer of its own (offset 0, exact length): it may be transferred to another thread. */
  readonly envelope: Buffer<ArrayBuffer>;
  /** 16 bytes: siv[16..32]. */
  readonly proof: Buffer<ArrayBuffer>;
}

export interface OpenedObject {
  readonly kind: ObjectKind;
  readonly keyEpoch: number;
  /** Concatenated ids, 32 × n: a view into the envelope. */
  readonly references: Uint8Array;
  /** The plain bytes, in an ArrayBuffer of their own. */
  readonly plain: Buffer<ArrayBuffer>;
}

/**
 * Seals `plain` (≤ 16 MiB). `references`: ids in order of first use, one by one or concatenated (32 × n), ≤ 65,536.
 * Deterministic. Throws LIMIT_EXCEEDED over a limit, INVALID_ARGUMENT for references that are not 32 bytes each.
 */
export declare function seal(
  keys: DomainKeys,
  kind: ObjectKind,
  references: Uint8Array | readonly Uint8Array[],
  plain: Uint8Array,
  options?: SealOptions,
): SealedObject;

/**
 * Opens an envelope: id (when given), kind (when given), and synthetic IV are verified before anything is decompressed.
 * Throws DAMAGED for bytes that are not what was sealed, UNSUPPORTED_VERSION for a format this code does not know,
 * FAILED_PRECONDITION when `keys` are of another epoch than the envelope's.
 */
export declare function open(
  keys: DomainKeys,
  envelope: Uint8Array,
  expected?: { readonly id?: Uint8Array; readonly kind?: ObjectKind },
): OpenedObject;
