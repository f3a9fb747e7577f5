// What the vault is asked and what it answers, as plain values. api/vault-service.ts translates the wire to these.
//
// The caller is a host known by its certificate; whoever builds a Caller has checked that.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { DatabasePoint, LogEnd, LogGap, LogRange, LogStream } from '@holdfast/shared/format/log-point';

/** Ids of rows are UUIDs in text; ids of objects are 32 bytes. */
export interface Caller {
  readonly hostId: string;
  readonly domainId: string;
}

export interface BeginBackup {
  readonly sourceId: string;
  /** Empty: the agent's own initiative. */
  readonly jobId: string;
  /** Empty: a new session; otherwise one to go on with. */
  readonly sessionId: string;
  /** Empty: no base. */
  readonly baseSnapshotId: Uint8Array;
}

export interface BackupBegan {
  readonly sessionId: string;
  /** Undefined when the source has no snapshot yet. */
  readonly latest: { readonly snapshotId: Buffer; readonly sequence: number } | undefined;
  /** The base needs objects that are damaged or missing: the agent should read every file anew, which stores them again. */
  readonly baseDamaged: boolean;
  readonly leaseMs: number;
  readonly windowBytes: number;
}

/** A piece of an object. Pieces of one object follow each other. */
export interface ObjectPart {
  readonly id: Uint8Array;
  readonly totalLength: number;
  readonly offset: number;
  readonly data: Buffer;
  /** With the first piece: siv[16..32] of each reference, 16 × n. */
  readonly referenceProofs: Buffer;
  /** Called once when nothing looks at this part's bytes any more. */
  readonly release?: () => void;
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

export interface CommitBackup {
  /** Id of the snapshot record, sent before. */
  readonly recordId: Uint8Array;
  readonly sequence: number;
  readonly stats: SnapshotStats;
  readonly partial: boolean;
  readonly warningsTotal: number;
  /** The agent's clock: shown, never compared. */
  readonly startedAtMs: number;
  /** Where a database's base stands in its log. */
  readonly point?: DatabasePoint;
}

export interface BackupCommitted {
  readonly snapshotId: Buffer;
  /** The catalog's clock, Unix ms. */
  readonly committedAtMs: number;
}

export type BackupAnswer =
  | { readonly kind: 'probed'; readonly batch: bigint; readonly present: Buffer }
  /** The first `count` objects of the stream are durable and indexed. */
  | { readonly kind: 'stored'; readonly count: number; readonly newBytes: number }
  | { readonly kind: 'committed'; readonly committed: BackupCommitted };

/**
 * One stream of one session. Calls are made one after the other in the stream's order; each resolves when the stream
 * may go on reading (that is the back-pressure), answers come from `answers`. Any error ends the stream, not the session.
 */
export interface BackupStream {
  readonly began: BackupBegan;
  probe(batch: bigint, ids: Buffer): Promise<void>;
  part(part: ObjectPart): Promise<void>;
  commit(commit: CommitBackup): Promise<void>;
  /** Ends after `committed`, or by throwing what ended the stream. */
  readonly answers: AsyncIterable<BackupAnswer>;
  /** Ends the stream, `answers` with `reason`, and gives back what it holds; the session lives on until its lease ends. Safe to call twice. */
  close(reason?: unknown): void;
}

export interface LogStoreBegan {
  /** The newest run of every stream, the newest stream first. */
  readonly ends: readonly LogEnd[];
  readonly windowBytes: number;
  /** No whole committed base from which the newest stream can be replayed to its end. */
  readonly baseNeeded: boolean;
}

/** One stream that stores a source's log. Calls as for BackupStream; what was acknowledged stays, whatever ends the stream. */
export interface LogStoreStream {
  readonly began: LogStoreBegan;
  /** A piece of a log segment (kind 4), without references. */
  part(part: ObjectPart): Promise<void>;
  /** After its last piece: what it holds. */
  segment(id: Uint8Array, range: LogRange): Promise<void>;
  gap(gap: LogGap): Promise<void>;
  /** Nothing to store: the stream is told that both sides live. */
  alive(): Promise<void>;
  /** How many segments and gaps, in the order sent, are durable and indexed. Ends by throwing what ended the stream. */
  readonly answers: AsyncIterable<{ readonly count: number }>;
  close(reason?: unknown): void;
}

/** One page. */
export interface ListedLog {
  readonly segments: readonly { readonly id: Buffer; readonly range: LogRange; readonly lengthBytes: number }[];
  /** Otherwise the list goes on from the end of the last segment. */
  readonly last: boolean;
}

export type LogReadAnswer =
  | { readonly kind: 'segment'; readonly id: Buffer; readonly envelope: Buffer }
  | {
      readonly kind: 'notServed';
      readonly id: Buffer;
      readonly reason: 'damaged' | 'missing';
      readonly message: string;
    };

/** Reads under one log grant. */
export interface LogReadStream {
  /** Of the streams that the grant reaches. */
  ends(): Promise<readonly LogEnd[]>;
  /** Live segments that overlap [start, end), in order, behind the stream's files. Throws NOT_ALLOWED for another stream. */
  list(wanted: {
    readonly stream: LogStream;
    readonly start: bigint;
    readonly end: bigint | undefined;
    readonly withoutFiles: boolean;
  }): Promise<ListedLog>;
  /** At most 64, in this order. Throws NOT_ALLOWED for one that the grant does not reach. */
  fetch(ids: readonly Uint8Array[]): AsyncIterable<LogReadAnswer>;
}

/** Positions [from, to) of a stream. */
export interface LogBound {
  readonly stream: LogStream;
  readonly from: bigint;
  readonly to: bigint;
}

/** What a served object is named with. */
export interface Want {
  readonly tag: bigint;
  readonly parentId: Uint8Array;
  readonly parentMac: Uint8Array;
  /** Indexes of the parent's references; empty: the parent itself. */
  readonly references: readonly number[];
}

export type ReadAnswer =
  | {
      readonly kind: 'object';
      readonly tag: bigint;
      /** Index in the parent, or SELF_REFERENCE for the object itself. */
      readonly reference: number;
      readonly id: Buffer;
      readonly envelope: Buffer;
      /** For records and nodes: what names this object as a parent. Empty for chunks. */
      readonly mac: Buffer;
      readonly pack: string;
      readonly packOffset: number;
    }
  | {
      readonly kind: 'notServed';
      readonly tag: bigint;
      readonly reference: number;
      readonly id: Buffer;
      readonly reason: 'damaged' | 'missing';
      readonly message: string;
    }
  | { readonly kind: 'done'; readonly tag: bigint };

export const SELF_REFERENCE = 0xffff_ffff;

/** One reading stream under one grant. */
export interface ReadStream {
  readonly recordId: Buffer;
  readonly recordMac: Buffer;
  /** Answers wants in the order asked, objects of one want in the vault's order. Reads ahead within a window of bytes. */
  serve(wants: AsyncIterable<Want>): AsyncIterable<ReadAnswer>;
}

/** A damaged place, and whom it hurts. */
export interface Damage {
  readonly packId: string;
  readonly offset: number;
  readonly lengthBytes: number;
  /** What is wrong, for people. */
  readonly what: string;
  /** The objects that were lost with it, hex. Empty where no live object stood. */
  readonly objectIds: readonly string[];
}

export interface VaultState {
  /** Why it takes no uploads now, in words; empty: it does. */
  readonly trouble: string;
  /** False while its target hangs; a full one still serves restores. */
  readonly answers: boolean;
  /** Undefined before the first look, and while the target does not answer. */
  readonly space:
    | { readonly freeBytes: number; readonly totalBytes: number; readonly reserveBytes: number }
    | undefined;
}

export interface VerifyReport {
  readonly packsChecked: number;
  readonly objectsChecked: number;
  readonly bytesChecked: number;
  readonly damages: readonly Damage[];
  /** Committed snapshots that need a damaged or missing object. */
  readonly snapshots: readonly {
    readonly snapshotId: string;
    readonly sourceId: string;
    readonly sequence: number;
    readonly objectIds: readonly string[];
    /** Undefined when nobody here can read them: the domain is sealed. */
    readonly files: DamagedFiles | undefined;
  }[];
  /** Live pieces of logs that are damaged or missing: what comes after them needs a newer base. */
  readonly logPieces: readonly { readonly sourceId: string; readonly range: LogRange }[];
}

/** A file that needs a lost object. */
export interface DamagedFile {
  /** As in the manifest. */
  readonly path: ByteString;
  /** How many entries after it are lost with it, unnamed, because the node that lists them is; 'all': nothing can be listed. */
  readonly others: number | 'all';
}

export interface DamagedFiles {
  readonly named: readonly DamagedFile[];
  /** Whether there may be more: the search has a bound. */
  readonly more: boolean;
}

/** Answers which files of a snapshot need any of these objects. Provided for managed domains. */
export type DescribeFiles = (snapshot: {
  domainId: string;
  snapshotId: Buffer;
  objectIds: readonly string[];
}) => Promise<DamagedFiles | undefined>;

export interface Vault {
  /** Begins a session or goes on with one. Throws SESSION_ENDED, NOT_ALLOWED, NOT_FOUND, LIMIT_EXCEEDED. */
  beginBackup(caller: Caller, begin: BeginBackup): Promise<BackupStream>;
  /** A grant for one committed snapshot of the host's domain. Whoever calls this has decided that the host may read it. */
  grant(to: Caller, snapshotId: Uint8Array, ttlMs?: number): Promise<Buffer>;
  /** A grant for a snapshot of the caller's own source; empty id: the newest. Throws NOT_FOUND. */
  grantOwn(caller: Caller, sourceId: string, snapshotId: Uint8Array): Promise<{ grant: Buffer; snapshotId: Buffer }>;
  /** Throws NOT_ALLOWED when the grant is forged, expired or another host's. */
  openRead(caller: Caller, grant: Uint8Array): Promise<ReadStream>;
  /** Stores the log of one of the caller's sources; an older stream of it ends. Throws NOT_FOUND, LIMIT_EXCEEDED. */
  beginLog(caller: Caller, sourceId: string): Promise<LogStoreStream>;
  /** A grant for parts of a source's log. Whoever calls this has decided that the host may read them. */
  grantLog(to: Caller, sourceId: string, bounds: readonly LogBound[], ttlMs?: number): Buffer;
  /** Throws NOT_ALLOWED when the grant is forged, expired or another host's. */
  openLogRead(caller: Caller, grant: Uint8Array): LogReadStream;
  /** One object's envelope, checked against its id, for whoever holds the domain's key (browsing). Throws NOT_FOUND, DAMAGED. */
  readObject(domainId: string, id: Uint8Array): Promise<Buffer>;
  /** Reads every byte of the packs that some snapshots and logs (or the domain, or everything) need. */
  verify(
    scope: { domainId?: string; snapshotIds?: readonly Uint8Array[]; logSources?: readonly string[] },
    options?: {
      describeFiles?: DescribeFiles;
      progress?: (bytesDone: number, bytesTotal: number) => void;
      signal?: AbortSignal;
    },
  ): Promise<VerifyReport>;
  /** How the target stands, from what was seen last: asking costs nothing and never waits. */
  state(): VaultState;
  /** Lets streams end, seals what is open. No call may follow. */
  stop(): Promise<void>;
}
