// Points in a database's log: the words that the agent, the controller and the records share (proto/holdfast/v1/log.proto).
//
// Hazard: positions of different streams look alike. 0/5000000 on timeline 1 and on timeline 2 are different data, and so is a
// binary log after a reset. So a position means nothing without its stream, and only positions of one stream are compared.

/** One unbroken sequence of positions. */
export interface LogStream {
  /** PostgreSQL: the cluster's system identifier. MariaDB: the server's id and the start of its numbering. */
  readonly systemIdentifier: string;
  readonly timeline: number;
}

/** A place in a stream: its order, for comparing, and the server's own notation. */
export interface LogPosition {
  /** PostgreSQL: the LSN; MariaDB: file number × 2^32 + offset. 0 ≤ order < 2^64. */
  readonly order: bigint;
  /** 0/3000028 · mysql-bin.000003:4567 */
  readonly text: string;
}

/** What one stored piece of a log holds: [start, end) of one stream, or a whole file beside it. */
export interface LogRange {
  readonly stream: LogStream;
  readonly start: LogPosition;
  readonly end: LogPosition;
  /** Empty for the log itself; a file's name for what belongs to it (00000002.history). */
  readonly file: string;
  /** Server's clock, Unix ms, of the first and the last commit within; undefined: there is none. */
  readonly firstCommitAtMs: number | undefined;
  readonly lastCommitAtMs: number | undefined;
  /** Server's clock: everything committed up to then is before `end`. */
  readonly completeToMs: number;
  /** Named restore points within, GTIDs at the end: "name=…", "gtid=…". At most 64. */
  readonly marks: readonly string[];
  /** Takes the place of the smaller pieces that it covers. */
  readonly merged: boolean;
  /**
   * Where the stream comes from: its parent first, then the parent's parent. Said with a history file, whose content the vault
   * can't read, or with the first piece of a stream. At most 64.
   */
  readonly ancestors?: readonly LogFork[];
}

/** What a range says that knows of nothing in it but where it is. */
export const PLAIN_RANGE = {
  file: '',
  firstCommitAtMs: undefined,
  lastCommitAtMs: undefined,
  completeToMs: 0,
  marks: [],
  merged: false,
} as const satisfies Partial<LogRange>;

/** A stream goes on from another one: what the two have in common ends at `position`. */
export interface LogFork {
  readonly parent: LogStream;
  readonly position: LogPosition;
}

/** A part of the log that nobody has: no point within can be reached, and what comes after needs a new base. */
export interface LogGap {
  readonly stream: LogStream;
  /** The last that is stored. */
  readonly start: LogPosition;
  /** The first that is stored again. */
  readonly end: LogPosition;
  /** Server's clock; `toMs` 0: not known yet. */
  readonly fromMs: number;
  readonly toMs: number;
  /** For people. */
  readonly reason: string;
}

/** The newest unbroken run of a stream. */
export interface LogEnd {
  readonly stream: LogStream;
  readonly start: LogPosition;
  readonly end: LogPosition;
  readonly completeToMs: number;
}

/** Where a base backup stands in its database's log. */
export interface DatabasePoint {
  readonly stream: LogStream;
  /** Recovery begins here. */
  readonly start: LogPosition;
  /** Before this the base is not consistent. */
  readonly end: LogPosition;
  /** Server's clock, Unix ms. */
  readonly startAtMs: number;
  readonly endAtMs: number;
  /** 15.14 · 10.11.14-MariaDB */
  readonly serverVersion: string;
  /** The server found damaged pages. */
  readonly suspect: boolean;
  /** The engine keeps a log, so later points can be reached. */
  readonly hasLog: boolean;
  /** MariaDB: at `end`; else ''. */
  readonly gtid: string;
}

/** Where a restore ends. */
export type RecoveryTarget =
  | { readonly kind: 'latest' }
  /** Everything committed up to and including this, server's clock, Unix ms. */
  | { readonly kind: 'time'; readonly atMs: number }
  /** Up to and including the record that ends there. */
  | { readonly kind: 'position'; readonly text: string }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'gtid'; readonly gtid: string }
  /** The snapshot alone: the earliest consistent point. */
  | { readonly kind: 'base' };

/** What an engine says of following a log. */
export interface LogStatus {
  readonly state: 'following' | 'catching-up' | 'waiting' | 'off';
  readonly stream: LogStream | undefined;
  /** Everything up to here is in the vault. */
  readonly stored: LogPosition | undefined;
  /** Written by the server and not in the vault. */
  readonly lagBytes: number;
  /** Age of the oldest commit that is not in the vault; 0: all is there. */
  readonly lagMs: number;
  /** Server's clock, Unix ms: everything committed up to then is in the vault; 0: nothing known. */
  readonly completeToMs: number;
  readonly slot: LogSlot | undefined;
  /** In words, when something is not as it should be; else ''. */
  readonly note: string;
}

/** What holds the log back on the server for us. */
export interface LogSlot {
  readonly name: string;
  readonly state: 'active' | 'inactive' | 'lost' | 'missing';
  readonly retainedBytes: number;
  /** Beyond this we let go of it and record a gap. */
  readonly keepBytes: number;
  /** What the server itself will still keep; undefined: it sets no bound. */
  readonly safeBytes: number | undefined;
}

export function sameStream(a: LogStream, b: LogStream): boolean {
  return a.systemIdentifier === b.systemIdentifier && a.timeline === b.timeline;
}
