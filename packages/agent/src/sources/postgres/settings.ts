// The settings of a PostgreSQL source.

import type { Settings } from '../../jobs/job.ts';
import type { SettingRule } from '../engine.ts';
import { durationMsOf, sizeOf } from '../setting-values.ts';
import { DEFAULT_WATCH_MS, type LogSettings } from './log/guard.ts';

export const SETTINGS: readonly SettingRule[] = [
  { name: 'dsn', meaning: 'host=… port=… user=… dbname=… passfile=… sslmode=…', required: true },
  {
    name: 'walKeep',
    meaning: 'how much log the server may keep for us at most',
    required: false,
    fallback: '16GiB, or a tenth of its file system',
  },
  { name: 'baseEvery', meaning: 'how often a base backup is taken', required: false, fallback: '24h' },
  {
    name: 'checkpoint',
    meaning: 'fast: begin a base at once; spread: with the next checkpoint',
    required: false,
    fallback: 'fast',
  },
  {
    name: 'export',
    meaning: 'databases that pg_dump writes beside each base: names with commas between, or *',
    required: false,
  },
  {
    name: 'scratch',
    meaning: 'where restore tests work on this host',
    required: false,
    fallback: '/var/tmp',
  },
  { name: 'bindir', meaning: 'where the programs of the server are, for restores on this host', required: false },
  { name: 'verify-query', meaning: 'a query that a restore test asks the restored server', required: false },
];

/** Throws INVALID_ARGUMENT. */
export function logSettings(settings: Settings): LogSettings {
  const { walKeep, baseEvery = '24h' } = settings;
  return {
    walKeepBytes: walKeep === undefined ? undefined : sizeOf('walKeep', walKeep),
    baseEveryMs: durationMsOf('baseEvery', baseEvery),
    watchMs: DEFAULT_WATCH_MS,
  };
}
