// Sizes and rates, in words and out of them. Binary units throughout: 1 KiB is 1,024 bytes.

import { HoldfastError } from '@holdfast/shared/base/errors';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** "0 B", "1.5 KiB", "12.3 GiB": three significant figures at the most, bytes exact. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.5 would print as "1024 KiB".
  while (value >= (unit === 0 ? 1024 : 1023.5) && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0) return `${Math.round(value)} B`;
  return `${value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2)} ${UNITS[unit]}`;
}

/** "1,234,567" */
export function formatCount(count: number): string {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** "1 file", "2,000 files". */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  kib: 1024,
  kb: 1000,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  mb: 1000 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  gb: 1000 ** 3,
  t: 1024 ** 4,
  tib: 1024 ** 4,
  tb: 1000 ** 4,
};

/** Bytes a second from "10MiB/s", "500k", "1.5 GiB/s". A bare letter is binary; kB, MB, GB are decimal. Throws USAGE. */
export function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)(?:\/s)?$/i.exec(text.trim());
  const factor = match === null ? undefined : FACTORS[match[2]!.toLowerCase()];
  const bytes = match === null || factor === undefined ? Number.NaN : Math.round(Number(match[1]) * factor);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new HoldfastError('USAGE', `"${text}" is not a rate`, {
      hint: 'Write a rate as 10MiB/s, 500KiB/s or 2GiB/s.',
    });
  }
  return bytes;
}
