// What is said of a piece of the log, of a history file, and of an empty piece. Pure.

import { PLAIN_RANGE, type LogRange, type LogStream } from '@holdfast/shared/format/log-point';
import { ancestorsOf, parseHistoryFile } from './history-file.ts';
import { historyFileName, positionOf } from './lsn.ts';
import type { Piece } from './piece-cutter.ts';

/** Times are widened to whole milliseconds: no commit is outside of what is said. */
export function rangeOfPiece(stream: LogStream, piece: Omit<Piece, 'bytes'>, completeToMs: number): LogRange {
  const { firstCommitAtMs: first, lastCommitAtMs: last } = piece;
  return {
    ...PLAIN_RANGE,
    stream,
    start: positionOf(piece.start),
    end: positionOf(piece.end),
    firstCommitAtMs: first === undefined ? undefined : Math.floor(first),
    lastCommitAtMs: last === undefined ? undefined : Math.ceil(last),
    completeToMs,
    marks: piece.restorePoints.map((name) => `name=${name}`),
  };
}

/** By which a database that writes nothing says up to when its log is complete. */
export function emptyRange(stream: LogStream, at: bigint, completeToMs: number): LogRange {
  return { ...PLAIN_RANGE, stream, start: positionOf(at), end: positionOf(at), completeToMs };
}

/** @param text a history file, as the server has it. Throws DAMAGED */
export function rangeOfHistory(stream: LogStream, text: string): LogRange {
  const ancestors = ancestorsOf(stream.systemIdentifier, parseHistoryFile(text));
  const position = ancestors[0]?.position ?? positionOf(0n);
  return { ...PLAIN_RANGE, stream, start: position, end: position, file: historyFileName(stream.timeline), ancestors };
}
