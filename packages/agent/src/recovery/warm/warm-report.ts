// How far a warm copy of a database is, for the controller.

import type { LogPosition, LogStream } from '@holdfast/shared/format/log-point';

export interface WarmReport {
  readonly application: string;
  readonly sourceId: string;
  readonly state: 'restoring' | 'replaying' | 'finished' | 'broken';
  readonly stream: LogStream | undefined;
  readonly replayed: LogPosition | undefined;
  /** Server's clock; 0: not known. */
  readonly completeToMs: number;
  readonly note: string;
}
