// Where transactions begin and end in a binary log, and what they are called.
//
// Hazard: a log that is cut within a transaction. A replay that stops there leaves half of it behind, or none of what was
// acknowledged. So a log is only ever ended, for a replay, where `TransactionTracker.open` is false.
//
// Invariants (transactions.test.ts): every commit in the log of a real server is found once, in order, with its GTID; statements
// that commit by themselves (DDL) are transactions too.
//
// Pure.

import { EventType, type BinlogEvent } from './event-reader.ts';

export interface Commit {
  /** 0-1-42 (MariaDB) · 3e11fa47-…:23 (MySQL) · '' when the server writes none. */
  readonly gtid: string;
  /** Server's clock, Unix ms; MariaDB's are whole seconds. */
  readonly atMs: number;
  /** `atMs` is exact; else it is the second in which the transaction's last statement began. */
  readonly exact: boolean;
}

interface OpenTransaction {
  readonly gtid: string;
  readonly atMs: number | undefined;
  /** One statement that commits by itself. `undefined`: the first statement will say. */
  alone: boolean | undefined;
}

const FL_STANDALONE = 1;

export class TransactionTracker {
  #open: OpenTransaction | undefined;

  /** Whether the log cannot be cut here. */
  get open(): boolean {
    return this.#open !== undefined;
  }

  /** What the event ends, if it ends a transaction. */
  next(event: BinlogEvent): Commit | undefined {
    switch (event.type) {
      case EventType.mariaGtid:
        this.#open = {
          gtid: mariaGtidOf(event),
          atMs: undefined,
          alone: (event.head.readUInt8(12) & FL_STANDALONE) !== 0,
        };
        return undefined;
      case EventType.mysqlGtid:
      case EventType.mysqlAnonymousGtid:
        this.#open = { gtid: mysqlGtidOf(event), atMs: mysqlCommitMs(event), alone: undefined };
        return undefined;
      case EventType.xid:
      case EventType.xaPrepare:
      case EventType.mysqlTransactionPayload:
        return this.#commit(event);
      case EventType.query:
      case EventType.queryCompressed:
        return this.#statement(event);
      default:
        return undefined;
    }
  }

  #statement(event: BinlogEvent): Commit | undefined {
    const words = event.type === EventType.query ? statementOf(event) : '';
    const open = this.#open;
    if (open === undefined) {
      // A server that writes no GTIDs: BEGIN opens, everything else stands alone.
      if (!/^(BEGIN|XA START)\b/i.test(words)) return this.#commit(event);
      this.#open = { gtid: '', atMs: undefined, alone: false };
      return undefined;
    }
    open.alone ??= !/^(BEGIN|XA START)\b/i.test(words);
    if (open.alone || /^(COMMIT|ROLLBACK)\s*$/i.test(words)) return this.#commit(event);
    return undefined;
  }

  #commit(event: BinlogEvent): Commit {
    const open = this.#open;
    this.#open = undefined;
    return { gtid: open?.gtid ?? '', atMs: open?.atMs ?? event.timestampS * 1000, exact: open?.atMs !== undefined };
  }
}

function mariaGtidOf(event: BinlogEvent): string {
  return `${event.head.readUInt32LE(8)}-${event.serverId}-${event.head.readBigUInt64LE(0)}`;
}

function mysqlGtidOf(event: BinlogEvent): string {
  if (event.type === EventType.mysqlAnonymousGtid) return '';
  const uuid = event.head.subarray(1, 17).toString('hex');
  return `${uuid.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')}:${event.head.readBigInt64LE(17)}`;
}

/** MySQL 8 writes the commit's time in microseconds: flags 1, uuid 16, number 8, type 1, two clocks of 8, then 7 bytes. */
function mysqlCommitMs(event: BinlogEvent): number | undefined {
  const at = 42;
  if (event.head.length < at + 7) return undefined;
  const micros = event.head.readUIntLE(at, 6) + event.head.readUInt8(at + 6) * 2 ** 48;
  // The highest bit says that a second time follows.
  return Math.floor((micros % 2 ** 55) / 1000);
}

/** The statement's beginning: thread 4, time 4, length of the schema's name 1, error 2, length of variables 2, those, name, NUL. */
function statementOf({ head }: BinlogEvent): string {
  if (head.length < 13) return '';
  const from = 13 + head.readUInt16LE(11) + head.readUInt8(8) + 1;
  return head
    .subarray(from, from + 64)
    .toString('latin1')
    .trimStart();
}
