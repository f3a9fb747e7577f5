// Times for people: in the user's zone with the offset, and read back from what people type.
//
// Invariant (times.property.test.ts): what formatTime prints, parseTime reads as the same second.

import { HoldfastError } from '@holdfast/shared/base/errors';

/** "2026-11-22 10:00:05 +01:00"; "never" for 0. `offsetMinutes` east of UTC, by default the process's zone at that time. */
export function formatTime(ms: number, offsetMinutes = -new Date(ms).getTimezoneOffset()): string {
  if (ms === 0) return 'never';
  const shifted = new Date(ms + offsetMinutes * 60_000).toISOString();
  const sign = offsetMinutes < 0 ? '-' : '+';
  const size = Math.abs(offsetMinutes);
  return `${shifted.slice(0, 10)} ${shifted.slice(11, 19)} ${sign}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** What formatTime printed, without the seconds. */
export function withoutSeconds(time: string): string {
  return time.replace(/^(\S+ \d\d:\d\d):\d\d /, '$1 ');
}

/** ISO in UTC for documents; null for 0 (never). */
export function isoTime(ms: number): string | null {
  return ms === 0 ? null : new Date(ms).toISOString();
}

/** "0.4 s", "12.3 s", "3 min 05 s", "2 h 07 min". */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** "12 s ago", "3 h ago", "5 d ago". */
export function formatAge(ms: number, nowMs: number): string {
  if (ms === 0) return 'never';
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

const SHAPE =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3})\d*)?)?)?(?:\s*(Z|[+-]\d{2}:?\d{2}))?$/i;

/**
 * Milliseconds since 1970 from ISO 8601, or from the local "2026-11-22 10:00[:05]". A day alone means its last moment,
 * because "as of the 22nd" includes what happened on it. Throws USAGE.
 */
export function parseTime(text: string): number {
  const match = SHAPE.exec(text.trim());
  if (match === null) throw notATime(text);
  const [, year, month, day, hour, minute, second, fraction, zone] = match;
  const dayAlone = hour === undefined;
  const fields = [
    Number(year),
    Number(month) - 1,
    Number(day),
    dayAlone ? 23 : Number(hour),
    dayAlone ? 59 : Number(minute),
    dayAlone ? 59 : Number(second ?? 0),
    dayAlone ? 999 : Number((fraction ?? '0').padEnd(3, '0')),
  ] as const;
  const utc = new Date(Date.UTC(...fields));
  // Date.UTC turns the 31st of April into the 1st of May.
  if (utc.getUTCMonth() !== fields[1] || utc.getUTCDate() !== fields[2] || fields[3] > 23 || fields[4] > 59) {
    throw notATime(text);
  }
  if (zone === undefined) return new Date(...fields).getTime();
  return utc.getTime() - zoneMinutes(zone) * 60_000;
}

function zoneMinutes(zone: string): number {
  if (zone.toUpperCase() === 'Z') return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2));
  return zone.startsWith('-') ? -minutes : minutes;
}

function notATime(text: string): HoldfastError {
  return new HoldfastError('USAGE', `"${text}" is not a time`, {
    hint: 'Write a time as "2026-11-22 10:00" (your zone), 2026-11-22T09:00:00Z, or 2026-11-22 (the end of that day).',
  });
}

function two(value: number): string {
  return value.toString().padStart(2, '0');
}
