// What following a log works with: one session of the vault, one connection to the server, and what is known of both.

import type { LogGap } from '@holdfast/shared/format/log-point';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { LogSession } from '../../../link/log-port.ts';
import type { LogBegin } from '../../bases/base-keeper.ts';
import type { StoredLogNotes } from '../stored-log.ts';
import type { FollowState } from './follow-state.ts';
import type { Merge } from './piece-merger.ts';
import type { ServerConnection } from './server-connection.ts';
import type { ServerLook } from './slot-watch.ts';
import type { Removed } from './start-plan.ts';
import type { VaultWriter } from './vault-writer.ts';

export interface FollowerDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly sourceId: string;
  readonly slotName: string;
  readonly session: LogSession;
  readonly writer: VaultWriter;
  readonly merge: Merge;
  readonly connection: ServerConnection;
  readonly state: FollowState;
  readonly notes: StoredLogNotes;
  readonly keepBytes: number;
  /** Of the log before this something is gone. */
  readonly removed: Removed | undefined;
  /** The agent's, for what is kept of each source. */
  readonly stateDir: string;
  /** Another one may be at work after it. */
  readonly signal: AbortSignal;
  look(): Promise<ServerLook>;
  /** It streams; a base that is needed may be taken now. */
  began(begin: Begin): void;
  changed(): void;
}

export interface Begin extends LogBegin {
  readonly baseNeeded: boolean;
  /** The log has a new one. */
  readonly gap: LogGap | undefined;
}
