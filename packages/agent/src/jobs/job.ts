// Jobs: what an agent is asked to do and what it answers, as the agent's own types.
//
// The pipelines in backup/ and restore/ implement the ports below; link/ translates between these types and the wire
// (control.proto). A pipeline returns a report when it reached its end and throws a HoldfastError when it did not
// (CANCELLED once its signal is aborted); what that means as a job's result is decided in one place, outcome.ts.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { ErrorCode } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { AgentIdentity } from '../link/identity.ts';
import type { DatabasePoint, LogPosition, LogStream, RecoveryTarget } from '@holdfast/shared/format/log-point';
import type { VaultClient } from '../link/vault-port.ts';
import type { Account } from '../os/account.ts';
import type { HostStep, StepReport } from '../recovery/contract.ts';
import type { SandboxOrder } from '../recovery/sandbox/sandbox.ts';
import type { BandwidthLimiter } from './bandwidth-limiter.ts';

export type SourceSpec = FilesSpec | EngineSpec;

interface SourceCommon {
  readonly sourceId: string;
  readonly name: string;
  readonly hooks: Hooks;
  /** 0: no limit. */
  readonly limitBytesPerSecond: number;
  readonly compression: Compression;
}

export interface FilesSpec extends SourceCommon {
  readonly type: 'files';
  readonly files: FilesSource;
}

/** Everything that is not a file tree; which engine knows it is said by `engine.type` (sources/registry.ts). */
export interface EngineSpec extends SourceCommon {
  readonly type: 'engine';
  readonly engine: EngineSource;
}

export interface EngineSource {
  /** postgres | mariadb | sqlite | redis | command | image | blueprint */
  readonly type: string;
  readonly settings: Settings;
}

/** What an engine was told, by name. Never a secret: those stay in files on the host. */
export type Settings = Readonly<Record<string, string>>;

export interface FilesSource {
  /** Absolute. One root is the root of the snapshot; several keep their full paths in it (without the leading slash). */
  readonly paths: readonly ByteString[];
  /** gitignore syntax, as text. */
  readonly excludes: readonly string[];
  readonly includes: readonly string[];
  readonly oneFileSystem: boolean;
  readonly excludeCaches: boolean;
  readonly continuous: boolean;
  /** Seconds between the scans of a continuous source; 0: the default. */
  readonly scanEverySeconds: number;
}

export interface Hooks {
  /** Program (absolute) and its arguments; empty: none. Run without a shell. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly timeoutSeconds: number;
  /** A failing `before` fails the backup instead of warning. */
  readonly requireBefore: boolean;
}

export interface Compression {
  readonly codec: 'zstd' | 'lz4' | 'none';
  /** 0: the codec's default. */
  readonly level: number;
}

export interface BackupJob<S extends SourceSpec = SourceSpec> {
  readonly kind: 'backup';
  /** Empty when the agent itself started it (continuous protection). */
  readonly jobId: string;
  readonly source: S;
  /** Read every file again, whatever its metadata says. */
  readonly fullRead: boolean;
  /**
   * Where something may have changed since the previous backup, as paths of the manifest, sorted, none beneath another;
   * each stands for itself and everything beneath it, and the entries of its parents are to be looked at again too.
   * Absent: walk everything. A pipeline may always walk more than this.
   */
  readonly changedPaths?: readonly ByteString[];
  /** With changed paths: until when nothing had changed beside them, wall clock. The snapshot stands for that time, however long it waits for its turn. */
  readonly changesUpToMs?: number;
}

export interface RestoreJob {
  readonly kind: 'restore';
  readonly jobId: string;
  readonly grant: Uint8Array;
  /** Absolute directory on this host. */
  readonly target: ByteString;
  /** Paths of the manifest; empty: all. */
  readonly paths: readonly ByteString[];
  /** The directory of the snapshot that the target stands for, with `paths` at or beneath it; absent: the root. */
  readonly root?: ByteString;
  readonly delta: boolean;
  readonly dryRun: boolean;
  readonly intoNonEmpty: boolean;
  readonly setuid: boolean;
  readonly deleteExtra: boolean;
  readonly limitBytesPerSecond: number;
  /** Of a snapshot that an engine made; absent: a file tree. */
  readonly engine?: EngineRestore;
  /** A drill's: into this sandbox, at `target` inside it. */
  readonly sandbox?: string;
  readonly warm?: WarmOrder;
  /** Of a plan, onto a host that stays who it is: what makes it that (recovery/warm/identity-paths.ts) is neither written nor removed. */
  readonly keepsIdentity?: boolean;
  /** Where a server that the restore starts runs; absent: here, in `target`. */
  readonly serverPlace?: ServerPlace;
  /** Paths of the manifest at and beneath which nothing is written or removed. */
  readonly kept?: readonly ByteString[];
  /**
   * With `delta`: only the differing pieces of a large file are written, where it stands, instead of a new file that takes its name.
   * For files of which one alone is of no use: what an interrupted restore leaves is neither the old nor the new one.
   */
  readonly inPlace?: boolean;
}

/** Another view of the file system, with processes of its own: a sandbox. */
export interface ServerPlace {
  /** The restore's target as the server sees it. */
  readonly target: string;
  /** As its processes number it, one that lives as long as this agent does. */
  readonly agentPid: number;
  /** The words that run `command` there, as `account`. */
  wrap(command: readonly string[], account: Account): readonly string[];
}

/** What a standby keeps of a plan's source (recovery/warm). */
export interface WarmOrder {
  /** The plan's id. */
  readonly application: string;
  readonly sourceId: string;
  readonly action: 'keep' | 'finish' | 'release';
  /** What is at the target was the plan's own: it may be overwritten. */
  readonly takeOver: boolean;
  /** Hex; '': not said. */
  readonly snapshotId: string;
}

/** A drill's sandbox is opened or removed. */
export interface SandboxJob {
  readonly kind: 'sandbox';
  readonly jobId: string;
  readonly action: 'open' | 'close';
  readonly order: SandboxOrder;
}

export interface VerifyJob {
  readonly kind: 'verify';
  readonly jobId: string;
  readonly grant: Uint8Array;
  readonly paths: readonly ByteString[];
  readonly limitBytesPerSecond: number;
  /** Restore it into a directory of the agent's own, start it, ask it, remove it. */
  readonly restoreTest?: EngineRestore;
}

/** Bringing back what an engine made, to a point. */
export interface EngineRestore {
  /** As it was when the snapshot was made. */
  readonly source: EngineSource;
  /** Where the snapshot stands; absent for engines without positions. */
  readonly base: DatabasePoint | undefined;
  readonly target: RecoveryTarget;
  /** How far the log has to be read to reach the target, and the grant for it; absent: not at all. */
  readonly log: { readonly stream: LogStream; readonly end: LogPosition; readonly grant: Uint8Array } | undefined;
  /** Nothing was committed between the end of the log and the target: recovery ends with the log. */
  readonly toEndOfLog: boolean;
  /** Start it on a private socket in the target, replay, leave it running. */
  readonly start: boolean;
  /** 0: the engine's default. */
  readonly port: number;
  readonly options: Settings;
}

/** Could this be backed up? Reads, changes nothing. */
export interface CheckJob {
  readonly kind: 'check';
  readonly jobId: string;
  readonly source: SourceSpec;
}

/** What runs on this host that could be protected? */
export interface DiscoverJob {
  readonly kind: 'discover';
  readonly jobId: string;
}

/** One action of a step of a recovery plan's run. */
export interface StepJob {
  readonly kind: 'step';
  readonly jobId: string;
  readonly step: HostStep;
}

export type Job = BackupJob | RestoreJob | VerifyJob | CheckJob | DiscoverJob | StepJob | SandboxJob;

export interface Finding {
  /** error: no backup can be made; warning: it can, with this risk; ok: looked at, and well. */
  readonly level: 'error' | 'warning' | 'ok';
  /** connection | role | wal_level | … */
  readonly subject: string;
  readonly message: string;
  /** What to run or to write, word for word; empty: nothing. */
  readonly remedy: string;
}

export interface DiscoveredSource {
  readonly type: string;
  /** A proposal. */
  readonly name: string;
  readonly settings: Settings;
  /** "PostgreSQL 15.14 in /var/lib/postgresql/15/main, 3 databases, 755 MiB" */
  readonly description: string;
  /** The command line that takes it, with HOST for the host's name. */
  readonly command: string;
}

/** Where a restored database stands. */
export interface ReachedPoint {
  readonly stream: LogStream;
  readonly position: LogPosition;
  /** Server's clock; 0: nothing was committed since the base. */
  readonly lastCommitAtMs: number;
  readonly running: boolean;
  /** How to reach it: "host=DIR port=5502"; empty when it does not run. */
  readonly connect: string;
  readonly replayMs: number;
  /** What the engine found when it asked: amcheck, query, … */
  readonly facts: Settings;
}

export type JobPhase = 'scan' | 'read' | 'upload' | 'commit' | 'restore' | 'verify' | 'hook';

/** How far a job is. Counters only grow within a phase; 0 in a total: not known yet. */
export interface JobProgress {
  readonly phase: JobPhase;
  readonly filesDone: number;
  readonly filesTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly currentPath: ByteString;
}

export interface JobSummary {
  /** 32 bytes; absent when no snapshot was made. */
  readonly snapshotId?: Uint8Array;
  readonly entries: number;
  readonly files: number;
  readonly filesChanged: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly durationMs: number;
  readonly partial: boolean;
}

export interface JobWarning {
  /** changed-while-read | vanished | unreadable | unsupported | metadata | damaged | hook | … */
  readonly code: string;
  readonly path: ByteString;
  readonly message: string;
}

/** What a dry run, or a delta, found to do. Counts are entries of every type, bytes the sizes of regular files. */
export interface RestorePlan {
  /** Nothing of it was done. */
  readonly dryRun: boolean;
  readonly created: number;
  /** Other content, or another type. */
  readonly changed: number;
  /** Only owner, mode, time or attributes. */
  readonly metadata: number;
  readonly unchanged: number;
  readonly deleted: number;
  /** Of what is created and changed. */
  readonly bytesWritten: number;
  readonly bytesUnchanged: number;
  /** Plain bytes of the chunks that must be fetched. */
  readonly bytesFetched: number;
  /** The first ones. */
  readonly examples: readonly { readonly action: PlannedAction; readonly path: ByteString }[];
}

export type PlannedAction = 'create' | 'change' | 'metadata' | 'delete';

/** What a pipeline that reached its end has to say. */
export interface JobReport {
  readonly summary: JobSummary;
  /** The first 1,000. */
  readonly warnings: readonly JobWarning[];
  readonly warningsTotal: number;
  /** Of a restore that looked at what its target holds. */
  readonly planned?: RestorePlan;
  /** It reached its end, but not its aim: files that could not be brought back, say. The result is then `failed`. */
  readonly failure?: JobFailure;
  /** Of a check. */
  readonly findings?: readonly Finding[];
  /** Of a discovery. */
  readonly discovered?: readonly DiscoveredSource[];
  /** Of a restored database. */
  readonly reached?: ReachedPoint;
  /** Of a step. The job is done once there is an answer, whatever it says. */
  readonly step?: StepReport;
}

export type JobResult = 'done' | 'warnings' | 'failed' | 'cancelled';

export interface JobFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

export interface JobOutcome extends JobReport {
  readonly result: JobResult;
  /** Set when the result is `failed` or `cancelled`. */
  readonly failure?: JobFailure;
}

export const WARNINGS_KEPT = 1000;

/** What every pipeline is given. */
export interface JobDeps {
  readonly identity: AgentIdentity;
  readonly vault: VaultClient;
  readonly clock: Clock;
  readonly log: Log;
  /** Of this job alone; await `take(bytes)` before the bytes are sent, or after they were received. */
  readonly limiter: BandwidthLimiter;
  /** The agent's own directory (0700); a pipeline keeps its caches in a folder of its own below it. */
  readonly stateDir: string;
}

/** May be called at any rate; what is sent to the controller is thinned out elsewhere. */
export type ProgressListener = (progress: JobProgress) => void;

export type RunBackup = (
  job: BackupJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
) => Promise<JobReport>;

export type RunRestore = (
  job: RestoreJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
) => Promise<JobReport>;

export type RunVerify = (
  job: VerifyJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
) => Promise<JobReport>;

/** A check or a discovery: it only looks. */
export type RunLook = (job: CheckJob | DiscoverJob, deps: JobDeps, signal: AbortSignal) => Promise<JobReport>;

export type RunSandbox = (job: SandboxJob) => Promise<JobReport>;

export type RunStep = (job: StepJob, deps: JobDeps, signal: AbortSignal) => Promise<JobReport>;

/**
 * What works on a job, by what the job is about. Loaded when a job of the kind runs, so that an idle agent does not hold the
 * pipelines in memory. Throws INVALID_ARGUMENT for a type of source that this agent does not know.
 */
export interface Pipelines {
  backup(job: BackupJob): Promise<RunBackup>;
  restore(job: RestoreJob): Promise<RunRestore>;
  verify(job: VerifyJob): Promise<RunVerify>;
  look(): Promise<RunLook>;
  step(): Promise<RunStep>;
  sandbox(): Promise<RunSandbox>;
}
