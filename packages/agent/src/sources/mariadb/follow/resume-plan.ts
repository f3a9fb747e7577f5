// Where to go on in a server's log: by what the vault has, what the agent remembers, and what the server still has.
//
// Invariants (resume-plan.test.ts):
//   M1 never past what is stored without a gap being recorded;
//   M2 never in a log that isn't the one that was followed: a shorter log, another server, an event that is not known;
//   M3 what the server has purged is a gap, and following goes on from the oldest file that is left.
//
// Pure.

import { sameStream, type LogEnd, type LogGap } from '@holdfast/shared/format/log-point';
import { BINLOG_MAGIC, fileNumber, fromLogPosition, toLogPosition, type BinlogPosition } from '../binlog/position.ts';
import type { Anchor } from './piece-builder.ts';
import { anchorBefore, newStream, type StreamRecord } from './stream-record.ts';

/** What the server says of itself. */
export interface ServerLog {
  /** Which server it is, across restarts. */
  readonly server: string;
  /** SHOW BINARY LOGS, oldest first; at least one. */
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
}

export interface ResumePlan {
  readonly record: StreamRecord;
  /** Why a stream was begun; '' when one goes on. */
  readonly begun: string;
  /** To be recorded before anything is sent. */
  readonly gap: LogGap | undefined;
  /** Where the server is asked to begin. */
  readonly from: BinlogPosition;
  /** Up to there everything is stored. */
  readonly storedTo: BinlogPosition;
  readonly expect: Anchor | undefined;
}

export function planResume(
  record: StreamRecord | undefined,
  ends: readonly LogEnd[],
  log: ServerLog,
  nowMs: number,
): ResumePlan {
  const first = log.files[0]?.name ?? '';
  const current = log.files.at(-1)?.name ?? '';
  if (record === undefined) return begin(log, current, 'this agent has not followed it before');
  if (record.server !== log.server) return begin(log, current, 'it is another server');
  const end = ends.find(({ stream }) => sameStream(stream, record.stream));
  const storedTo = end === undefined ? { file: record.firstFile, offset: 0 } : fromLogPosition(end.end);
  const number = fileNumber(storedTo.file);
  const own = log.files.find(({ name }) => name === storedTo.file);
  // Also a file that is not the last: a server that lost power, and the end of its log with it, began the next one.
  const beyond = number > fileNumber(current) || (own !== undefined && storedTo.offset > own.bytes);
  if (beyond || (number >= fileNumber(first) && own === undefined)) {
    return begin(log, current, `the server's log ends before ${storedTo.file}:${storedTo.offset}: it was begun anew`);
  }
  if (number < fileNumber(first)) {
    if (end === undefined) return begin(log, current, 'what it began with is gone');
    const from = { file: first, offset: 0 };
    const gap: LogGap = {
      stream: record.stream,
      start: end.end,
      end: toLogPosition(from),
      fromMs: end.completeToMs,
      toMs: nowMs,
      reason: `the server purged its binary logs before ${first} while nobody followed them`,
    };
    return { record, begun: '', gap, from: afterMagic(from), storedTo: from, expect: undefined };
  }
  if (storedTo.offset <= BINLOG_MAGIC.length && (end === undefined || anchorBefore(record, storedTo) === undefined)) {
    return { record, begun: '', gap: undefined, from: afterMagic(storedTo), storedTo, expect: undefined };
  }
  const expect = anchorBefore(record, storedTo);
  if (expect === undefined || !log.files.some(({ name }) => name === expect.file)) {
    return begin(log, current, 'nothing is known by which it could be known again');
  }
  const from = { file: expect.file, offset: expect.offset };
  return { record, begun: '', gap: undefined, from, storedTo, expect };
}

/** A new stream, from the beginning of the file that the server writes now: replays need a file's first event. */
export function begin(log: ServerLog, file: string, why: string): ResumePlan {
  const storedTo = { file, offset: 0 };
  return {
    record: newStream(log.server, file),
    begun: why,
    gap: undefined,
    from: afterMagic(storedTo),
    storedTo,
    expect: undefined,
  };
}

function afterMagic({ file }: BinlogPosition): BinlogPosition {
  return { file, offset: BINLOG_MAGIC.length };
}
