// What choosing a recovery point goes by, and how it says no.

import type { ErrorCode } from '@holdfast/shared/base/errors';
import type { LogGap, LogPosition, LogStream } from '@holdfast/shared/format/log-point';

import type { ForkOfStream, StoredRun } from '../vault/log-reach.ts';

/** A stored piece that tells something of the target. */
export interface LogPiece {
  readonly stream: LogStream;
  readonly start: LogPosition;
  readonly end: LogPosition;
  /** Server's clock. */
  readonly lastCommitAtMs: number | undefined;
  readonly marks: readonly string[];
}

export interface LogSummary {
  /** The last touched first; cut where a piece is damaged. */
  readonly runs: readonly StoredRun[];
  readonly forks: readonly ForkOfStream[];
  /** Recorded ones, and damaged pieces. */
  readonly gaps: readonly LogGap[];
  /** Those that matter to the target, in order of each stream: with a commit after the time; with the name or the GTID. */
  readonly pieces: readonly LogPiece[];
  /** Named restore points that are stored, some of them: for a refusal. */
  readonly names: readonly string[];
}

export interface RefusedPoint {
  readonly kind: 'refused';
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}
