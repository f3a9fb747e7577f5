// What a source is to the agent: the one interface behind file trees, databases, images, commands and blueprints.
//
// A new kind of source is a new folder beside this file, and a line in registry.ts. An engine's modules and drivers are loaded
// when a source of its type is first worked on: an agent that protects no database holds no driver.
//
// Every engine passes the conformance suite (testing/engine-conformance.test.ts) against its real server: what `base` and `log`
// stored comes back through `restore` equal to what the server had; `check` names what would make a backup fail; `verify`
// finds what was damaged; a cancelled `base` leaves nothing running.

import type {
  BackupJob,
  DiscoveredSource,
  Finding,
  JobDeps,
  JobOutcome,
  JobReport,
  ProgressListener,
  RestoreJob,
  SourceSpec,
  VerifyJob,
} from '../jobs/job.ts';
import type { ContentCheck } from '../restore/content-check.ts';
import type { SourceReport } from '../link/control-wire.ts';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { Held } from './held-elsewhere.ts';
import type { AgentIdentity } from '../link/identity.ts';
import type { VaultClient } from '../link/vault-port.ts';

/** A setting that an engine knows. */
export interface SettingRule {
  readonly name: string;
  /** For people, one line. */
  readonly meaning: string;
  readonly required: boolean;
  /** Shown; the engine applies it. */
  readonly fallback?: string;
}

export interface SourceEngine<S extends SourceSpec = SourceSpec> {
  /** files, postgres, mariadb, … */
  readonly type: string;
  readonly settings: readonly SettingRule[];

  /** What runs on this host that it could protect. Reads; never asks for a password. An empty list is a good answer. */
  discover(deps: LookDeps): Promise<readonly DiscoveredSource[]>;
  /** Could `source` be backed up? Never throws for what it finds: a server that can't be reached is a finding. */
  check(source: S, deps: LookDeps): Promise<readonly Finding[]>;
  /** Makes a snapshot: its content, its nodes, its record, committed. */
  base(job: BackupJob<S>, deps: JobDeps, signal: AbortSignal, onProgress: ProgressListener): Promise<JobReport>;
  /**
   * Stands guard: follows a log, or watches, until stopped; takes the bases that it needs by itself. Absent, or undefined: nothing to follow.
   * Never throws; what goes wrong is reported and tried again.
   */
  log?(source: S, deps: GuardDeps): Guard | undefined;
  /** What a guard holds on another server, and wrote down before (held-elsewhere.ts). */
  readonly heldElsewhere?: {
    /** Of what this source holds, as long as it is this source. */
    keyOf(source: S): string;
    /** Lets go of it, when no source holds it any more. Throws when it can't be reached: it is tried again. */
    takeBack(held: Held, clock: Clock): Promise<void>;
  };
  /** Brings a snapshot back to `job.target`, and to `job.engine.target` with the log. */
  restore(job: RestoreJob, deps: JobDeps, signal: AbortSignal, onProgress: ProgressListener): Promise<JobReport>;
  /** What a verification that restores nothing holds against this engine's snapshots, besides what the vault proves. */
  contentCheck?(job: VerifyJob, deps: JobDeps, signal: AbortSignal): Promise<ContentCheck>;
  /** Proves that a snapshot can be brought back: reads and checks it, or restores it for a test (`job.restoreTest`). */
  verify(job: VerifyJob, deps: JobDeps, signal: AbortSignal, onProgress: ProgressListener): Promise<JobReport>;
}

export interface LookDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** What a standing guard is given. */
export interface GuardDeps {
  readonly identity: () => AgentIdentity;
  readonly vault: VaultClient;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
  readonly stateDir: string;
  /** Runs a backup of the agent's own initiative in turn with the others. */
  runBackup(job: BackupJob): Promise<JobOutcome>;
  /** The newest replaces what was said before; sent when it changed, and again after every new connection. */
  report(report: SourceReport): void;
}

export interface Guard {
  /** Resolves when nothing of it runs any more. */
  stop(): Promise<void>;
}
