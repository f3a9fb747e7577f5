// Places in PostgreSQL's log: log sequence numbers, and the files that hold them.
//
// An LSN counts bytes of one timeline's log since the cluster was made. The server writes it as two hexadecimal halves; here it
// is a bigint, since it has 64 bits. Pure.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogPosition } from '@holdfast/shared/format/log-point';

/** Bytes of a page of the log in every build that is packaged; a server built otherwise is told by its long page headers. */
export const WAL_PAGE_BYTES = 8192;

const LSN = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i;

/** 0/3000028 → 50331688n. Throws INVALID_ARGUMENT. */
export function parseLsn(text: string): bigint {
  const match = LSN.exec(text);
  if (match === null) throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(text)} is not a position in a log`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** As the server writes it: no leading zeros in either half. */
export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`.toUpperCase();
}

export function positionOf(lsn: bigint): LogPosition {
  return { order: lsn, text: formatLsn(lsn) };
}

/** Where the file begins that holds the byte at `lsn`. @param fileBytes size of the server's log files, a power of two */
export function fileStart(lsn: bigint, fileBytes: number): bigint {
  return lsn - (lsn % BigInt(fileBytes));
}

/** Name of the file in pg_wal that holds the byte at `lsn`. */
export function walFileName(timeline: number, lsn: bigint, fileBytes: number): string {
  const perHigh = 0x1_0000_0000n / BigInt(fileBytes);
  const number = lsn / BigInt(fileBytes);
  return [BigInt(timeline), number / perHigh, number % perHigh]
    .map((part) => part.toString(16).padStart(8, '0'))
    .join('')
    .toUpperCase();
}

export function historyFileName(timeline: number): string {
  return `${timeline.toString(16).padStart(8, '0').toUpperCase()}.history`;
}

/** LSN of the first byte of a file. @param name as `walFileName` makes it */
export function walFileStart(name: string, fileBytes: number): bigint {
  const perHigh = 0x1_0000_0000n / BigInt(fileBytes);
  return (BigInt(`0x${name.slice(8, 16)}`) * perHigh + BigInt(`0x${name.slice(16, 24)}`)) * BigInt(fileBytes);
}
