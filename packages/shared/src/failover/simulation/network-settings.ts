// How the simulated network treats messages, apart from cuts.

export interface NetworkSettings {
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  readonly loss: number;
  /** Share of messages that are late by up to `lateMs`. */
  readonly late: number;
  readonly lateMs: number;
  /** Only what is sent to this node is late. */
  readonly lateTo?: string;
  readonly doubled: number;
}
