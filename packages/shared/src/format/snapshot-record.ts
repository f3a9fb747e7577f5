// The snapshot record: what a snapshot says of itself, signed by the host that made it (signatures).
import type { KeyObject } from 'node:crypto';
import type { ByteString } from '../base/byte-string.ts';

export interface SnapshotStatistics {
  readonly entries: number;
  readonly files: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly durationMs: number;
}

export interface SnapshotWarning {
  /** A stable word: changed_while_read, unreadable, vanished, … */
  readonly code: string;
  /** Relative to the source's root; raw bytes. */
  readonly path: ByteString;
  readonly message: string;
}

export interface SnapshotRecord {
  readonly domainId: string;
  readonly hostId: string;
  readonly sourceId: string;
  /** files, postgresql, … */
  readonly sourceType: string;
  /** 1 for a source's first snapshot. */
  readonly sequence: number;
  /** 32 bytes; absent for the first. Not a reference: the previous snapshot may be deleted. */
  readonly previousSnapshotId: Uint8Array | undefined;
  /** Agent's clock, ms since 1970; shown, never compared. */
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly statistics: SnapshotStatistics;
  /** Something that should be in the snapshot is not. */
  readonly partial: boolean;
  readonly warningsTotal: number;
  /** The first 1,000. */
  readonly warnings: readonly SnapshotWarning[];
}

export const MAX_RECORD_WARNINGS = 1_000;

/** The payload to seal as kind snapshotRecord with `references` = [manifest root]: body and Ed25519 signature over both. Warnings beyond 1,000 are dropped (the total stays). */
export declare function encodeSnapshotRecord(
  record: SnapshotRecord,
  references: Uint8Array,
  signingKey: KeyObject,
): Buffer<ArrayBuffer>;

export interface DecodedSnapshotRecord {
  readonly record: SnapshotRecord;
  /** Raw Ed25519, 32 bytes: the key that the record claims; trust it only after `verifySnapshotRecord`. */
  readonly signerPublicKey: Buffer<ArrayBuffer>;
}

/** Reads a payload that `open` gave. Checks limits and shape and the signature against the key that the record itself names. Throws DAMAGED. */
export declare function decodeSnapshotRecord(payload: Uint8Array, references: Uint8Array): DecodedSnapshotRecord;

/** Throws DAMAGED unless the record is signed by `publicKey` (raw, 32 bytes), the key the controller has for this host. */
export declare function verifySnapshotRecord(payload: Uint8Array, references: Uint8Array, publicKey: Uint8Array): DecodedSnapshotRecord;

/** Raw 32-byte public key of an Ed25519 private or public key. */
export declare function rawPublicKey(key: KeyObject): Buffer<ArrayBuffer>;
