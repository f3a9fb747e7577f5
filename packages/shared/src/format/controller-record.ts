// Controller records: what the catalog must not lose, written into the packs themselves (signatures).

import type { SnapshotStatistics } from './snapshot-record.ts';

/** All times: catalog's clock, ms since 1970. Ids of objects: 32 bytes. */
export type ControllerRecord =
  | CommitRecord
  | LockRecord
  | DeleteRecord
  | LogSegmentRecord;

/** A snapshot was committed. */
export interface CommitRecord {
  readonly kind: 'commit';
  readonly snapshotId: Uint8Array;
  readonly domainId: string;
  readonly hostId: string;
  readonly hostName: string;
  readonly sourceId: string;
  readonly sourceName: string;
  readonly sourceType: string;
  readonly sequence: number;
  readonly committedAtMs: number;
  /** Raw Ed25519, 32 bytes: what the snapshot record was verified with. */
  readonly hostRecordPublicKey: Uint8Array;
  readonly owner: string;
  /** What the catalog's row says besides, so that a rebuild without the domain's key brings it back whole. */
  readonly previousSnapshotId: Uint8Array | undefined;
  /** Agent's clock; shown, never compared. */
  readonly startedAtMs: number;
  readonly statistics: SnapshotStatistics;
  readonly partial: boolean;
  readonly warningsTotal: number;
}

/** A snapshot may not be deleted before a time. */
export interface LockRecord {
  readonly kind: 'lock';
  readonly snapshotId: Uint8Array;
  readonly domainId: string;
  readonly lockedUntilMs: number;
  readonly lockedAtMs: number;
  readonly lockedBy: string;
}

/** A snapshot was deleted: a rebuild must not bring it back. */
export interface DeleteRecord {
  readonly kind: 'delete';
  readonly snapshotId: Uint8Array;
  readonly domainId: string;
  readonly deletedAtMs: number;
  readonly deletedBy: string;
  readonly reason: string;
}

/** A log segment (WAL, binary log) was stored. Positions are the server's own notation. */
export interface LogSegmentRecord {
  readonly kind: 'logSegment';
  readonly segmentId: Uint8Array;
  readonly domainId: string;
  readonly hostId: string;
  readonly sourceId: string;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly startPosition: string;
  readonly endPosition: string;
  readonly lastCommitAtMs: number | undefined;
  readonly sentAtMs: number | undefined;
  readonly storedAtMs: number;
}

/** The payload to seal as kind controllerRecord, without references, with the system domain's keys. */
export declare function encodeControllerRecord(record: ControllerRecord): Buffer<ArrayBuffer>;
/** Throws DAMAGED for what is not a record, UNSUPPORTED_VERSION for a kind of record this code does not know. */
export declare function decodeControllerRecord(payload: Uint8Array): ControllerRecord;
