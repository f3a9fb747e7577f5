// What a MariaDB source can be told, and what that means in numbers.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Settings } from '../../jobs/job.ts';
import type { SettingRule } from '../engine.ts';

export const SETTING_RULES: readonly SettingRule[] = [
  {
    name: 'dsn',
    meaning: 'how the server is reached: socket=… or host=… port=…, user=…, defaults-file=…',
    required: true,
  },
  { name: 'method', meaning: 'auto, logical (a dump) or physical (mariadb-backup)', required: false, fallback: 'auto' },
  {
    name: 'physicalAbove',
    meaning: 'with method=auto: a server that holds more than this is copied physically',
    required: false,
    fallback: '256MiB',
  },
  {
    name: 'baseEvery',
    meaning: 'seconds between bases; 0: none but those that the log needs',
    required: false,
    fallback: '86400',
  },
  { name: 'verify-query', meaning: 'asked of a restored server by a restore test; must give rows', required: false },
];

export interface MariaDbSettings {
  readonly method: 'auto' | 'logical' | 'physical';
  readonly physicalAboveBytes: number;
  /** 0: never. */
  readonly baseEveryMs: number;
  /** '': none. */
  readonly verifyQuery: string;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** Throws INVALID_ARGUMENT. */
export function readSettings(settings: Settings): MariaDbSettings {
  const method = settings['method'] ?? 'auto';
  if (method !== 'auto' && method !== 'logical' && method !== 'physical') {
    throw new HoldfastError('INVALID_ARGUMENT', `method=${method} is not known`, {
      hint: 'It is auto, logical or physical.',
    });
  }
  return {
    method,
    physicalAboveBytes: bytesOf(settings['physicalAbove'] ?? '256MiB'),
    baseEveryMs: secondsOf(settings['baseEvery'] ?? '86400') * 1000,
    verifyQuery: settings['verify-query'] ?? '',
  };
}

function bytesOf(text: string): number {
  const size = /^(\d{1,15})\s*([KMGT]?)(i?B)?$/i.exec(text);
  const unit = UNITS[(size?.[2] ?? '').toUpperCase()];
  if (size === null || unit === undefined) {
    throw new HoldfastError('INVALID_ARGUMENT', `physicalAbove=${text} is no size`, { hint: 'Write 10GiB, say.' });
  }
  return Number(size[1]) * unit;
}

function secondsOf(text: string): number {
  if (!/^\d{1,9}$/.test(text)) {
    throw new HoldfastError('INVALID_ARGUMENT', `baseEvery=${text} is no number of seconds`, {
      hint: 'Write 86400, say.',
    });
  }
  return Number(text);
}
