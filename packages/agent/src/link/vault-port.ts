// The vault as the pipelines see it: sessions that take and give envelopes, in the agent's own types.
//
// vault-client.ts implements this over vault.proto; a pipeline's unit test may implement it in memory.

import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import type { LogClient } from './log-port.ts';

export interface VaultClient extends LogClient {
  /**
   * Opens a backup session. Throws HoldfastError: BUSY (another backup of this source runs), NOT_FOUND (no such source),
   * UNREACHABLE (not reached in `connectTimeoutMs`), CANCELLED (the signal).
   */
  openBackup(request: OpenBackup): Promise<BackupSession>;
  /** Opens reads under a grant. Throws NOT_ALLOWED for a grant that is forged, expired or another host's. */
  openRead(grant: Uint8Array, options: { readonly signal: AbortSignal }): Promise<ReadSession>;
  /** A grant for a snapshot of this host's own source. Throws NOT_FOUND when there is none. */
  grantOwn(request: {
    readonly sourceId: string;
    /** Absent: the newest. */
    readonly snapshotId?: Uint8Array;
    readonly signal: AbortSignal;
  }): Promise<OwnGrant>;
}

export interface OwnGrant {
  readonly grant: Uint8Array;
  readonly snapshotId: Uint8Array;
}

export interface OpenBackup {
  readonly sourceId: string;
  /** Empty: the agent's own initiative. */
  readonly jobId: string;
  /** Absent: a backup that builds on nothing. */
  readonly baseSnapshotId?: Uint8Array;
  readonly signal: AbortSignal;
}

/**
 * One backup in progress. A broken connection is mended beneath: the stream is opened anew with the session's id, open
 * probes are asked again and objects without acknowledgement are sent again. When that fails for as long as the lease,
 * or the session ended at the controller, every pending and later call throws (UNREACHABLE, SESSION_ENDED).
 */
export interface BackupSession {
  readonly sessionId: string;
  /** The source's newest committed snapshot. If it is not the base, close this session and build on that one. */
  readonly latestSnapshotId: Uint8Array | undefined;
  readonly latestSequence: number;
  /** The base needs objects that are damaged or missing: read every file anew, which stores them again. */
  readonly baseDamaged: boolean;
  /** Unacknowledged envelope bytes beyond which `send` waits. */
  readonly windowBytes: number;

  /** Asks for chunks: `ids` is 32 × n bytes, 1 ≤ n ≤ 4,096. Answers n bytes, 1: present (and pinned), 0: missing. Several may be open at once. */
  probe(ids: Uint8Array): Promise<Uint8Array>;
  /**
   * Queues one object. Resolves when the next may be sent: the connection takes more and the byte window has room. Calls
   * may not overlap. The envelope is not copied: leave it untouched until `storedCount` passed it.
   */
  send(object: OutgoingObject): Promise<void>;
  /** Objects of this session, in the order sent, that are durable. */
  readonly storedCount: number;
  /** Envelope bytes that the vault did not have before. */
  readonly newBytes: number;
  /** Called whenever `storedCount` has grown. */
  onStored: ((storedCount: number, newBytes: number) => void) | undefined;
  /** Resolves when everything sent so far is durable. */
  drained(): Promise<void>;
  /** Waits for `drained`, commits, and ends the session. Asked again after a broken connection: the controller answers for the same record as before. */
  commit(commit: SnapshotCommit): Promise<CommittedSnapshot>;
  /** Gives the session up without committing, or does nothing after a commit. What was stored is reused by the next backup. */
  close(): void;
}

export interface OutgoingObject {
  /** 32 bytes. */
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  /** siv[16..32] of each reference, 16 × n; absent when there are none. */
  readonly referenceProofs?: Uint8Array;
}

export interface SnapshotCommit {
  /** Id of the snapshot record, which was sent before. */
  readonly recordId: Uint8Array;
  readonly sequence: number;
  readonly partial: boolean;
  readonly warningsTotal: number;
  readonly startedAtMs: number;
  readonly stats: SnapshotStats;
  /** Of a database's base. */
  readonly point?: DatabasePoint;
}

export interface SnapshotStats {
  readonly entries: number;
  readonly files: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly durationMs: number;
}

export interface CommittedSnapshot {
  readonly snapshotId: Uint8Array;
  readonly committedAtMs: number;
}

/** An object as it was served, whole. Its id is *claimed*: `open` checks it against the bytes. */
export interface ServedObject {
  /** Index in the parent's references; OBJECT_ITSELF for the parent itself. */
  readonly reference: number;
  readonly id: Uint8Array;
  /** A buffer of its own, which may be transferred to a worker. */
  readonly envelope: Buffer<ArrayBuffer>;
  /** Manifest nodes and records alone: what names this object as a parent. */
  readonly mac: Uint8Array | undefined;
  readonly pack: string;
  readonly packOffset: number;
}

/** An object that the vault could not serve; the rest goes on. */
export interface ObjectNotServed {
  readonly reference: number;
  readonly id: Uint8Array;
  readonly reason: 'damaged' | 'missing';
  readonly message: string;
}

export interface WantAnswer {
  readonly objects: readonly ServedObject[];
  readonly failures: readonly ObjectNotServed[];
}

export const OBJECT_ITSELF = 0xffff_ffff;

export interface ObjectHandle {
  readonly id: Uint8Array;
  readonly mac: Uint8Array;
}

/**
 * Reads under one grant, several wants at once. A broken connection is mended beneath (wants without an end are asked
 * again; an object is handed over once). Throws PROTOCOL_VIOLATION when the vault sends what was not asked for, more than
 * it announced, or an object over the format's limit.
 */
export interface ReadSession {
  /** The granted snapshot record; want it with `want(record, [])`. */
  readonly record: ObjectHandle;
  /**
   * Wants references of a served object by their indexes (≤ 4,096); none: the object itself. Each object is handed to
   * `onObject` as it arrives, in the vault's order; a promise it returns holds back further receiving (back-pressure).
   * Resolves when all were answered.
   */
  want(parent: ObjectHandle, references: readonly number[], receive: WantReceiver): Promise<void>;
  /** The same, gathered: for a few objects. */
  fetch(parent: ObjectHandle, references: readonly number[]): Promise<WantAnswer>;
  close(): void;
}

export interface WantReceiver {
  onObject(object: ServedObject): Promise<void> | void;
  onFailure(failure: ObjectNotServed): void;
}
