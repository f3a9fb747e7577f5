// Positions in a server's binary log as the vault orders them: file number × 2^32 + offset.
//
// A file ends where the next begins: what ends a file ends at offset 0 of the next one, so that pieces meet without anybody
// knowing how long a file became.
//
// Pure.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogPosition } from '@holdfast/shared/format/log-point';

export interface BinlogPosition {
  /** mysql-bin.000003 */
  readonly file: string;
  readonly offset: number;
}

/** A file's first four bytes, before its first event. */
export const BINLOG_MAGIC = Buffer.from([0xfe, 0x62, 0x69, 0x6e]);

/** The number at the end of a binary log's name. Throws INVALID_ARGUMENT for a name without one. */
export function fileNumber(file: string): number {
  const digits = /\.(\d{1,10})$/.exec(file)?.[1];
  if (digits === undefined) throw new HoldfastError('INVALID_ARGUMENT', `${file} is no name of a binary log`);
  return Number(digits);
}

export function toLogPosition({ file, offset }: BinlogPosition): LogPosition {
  return { order: (BigInt(fileNumber(file)) << 32n) + BigInt(offset), text: `${file}:${offset}` };
}

/** Throws INVALID_ARGUMENT. */
export function fromLogPosition({ text }: Pick<LogPosition, 'text'>): BinlogPosition {
  const colon = text.lastIndexOf(':');
  const offset = Number(text.slice(colon + 1));
  if (colon < 1 || !Number.isSafeInteger(offset) || offset < 0) {
    throw new HoldfastError('INVALID_ARGUMENT', `${text} is no position in a binary log`, {
      hint: 'Positions look like mysql-bin.000003:4567.',
    });
  }
  const file = text.slice(0, colon);
  fileNumber(file);
  return { file, offset };
}

export function comparePositions(a: BinlogPosition, b: BinlogPosition): number {
  return fileNumber(a.file) - fileNumber(b.file) || a.offset - b.offset;
}
