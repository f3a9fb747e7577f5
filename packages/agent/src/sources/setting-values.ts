// Values of settings as people write them: sizes, times, words; and what is wrong with a set of settings.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Finding, Settings } from '../jobs/job.ts';
import type { SettingRule } from './engine.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
const TIME_UNITS: Readonly<Record<string, number>> = {
  '': 1000,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Bytes of "16GiB", "512m", "1000". Throws INVALID_ARGUMENT. */
export function sizeOf(name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * SIZE_UNITS[match[2]!.toLowerCase()]!);
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new HoldfastError('INVALID_ARGUMENT', `${name}=${text} is no size`, { hint: `Write ${name}=16GiB, say.` });
}

/** Milliseconds of "24h", "30 s", "90" (seconds); "off" is 0. Throws INVALID_ARGUMENT. */
export function durationMsOf(name: string, text: string): number {
  if (text.trim() === 'off') return 0;
  const match = /^(\d+(?:\.\d+)?)\s*(ms|[smhd]?)$/i.exec(text.trim());
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * TIME_UNITS[match[2]!.toLowerCase()]!);
  if (Number.isSafeInteger(ms)) return ms;
  throw new HoldfastError('INVALID_ARGUMENT', `${name}=${text} is no time`, {
    hint: `Write ${name}=24h or ${name}=off, say.`,
  });
}

/** A program and its arguments, written as a JSON list. Throws INVALID_ARGUMENT. */
export function commandOf(name: string, text: string): readonly [string, ...string[]] {
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch {
    words = undefined;
  }
  if (Array.isArray(words) && words.every((word) => typeof word === 'string' && !word.includes('\0'))) {
    const [program, ...rest] = words as string[];
    if (program?.startsWith('/') === true) return [program, ...rest];
  }
  throw new HoldfastError('INVALID_ARGUMENT', `${name} is no program with its arguments`, {
    hint: `Write ${name}=["/usr/bin/program","argument"]: an absolute path, no shell.`,
  });
}

/** An error when `every` is no time. */
export function rhythmFindings(settings: Settings): Finding[] {
  try {
    durationMsOf('every', settings['every'] ?? 'off');
    return [];
  } catch (error) {
    const { message, hint } = error as HoldfastError;
    return [{ level: 'error', subject: 'every', message, remedy: hint }];
  }
}

/** How the command line spells it. */
function optionOf(name: string): string {
  if (name === 'run') return '--run /usr/bin/program --run argument';
  return name === 'dsn' || name === 'path' ? `--${name} …` : `--set ${name}=…`;
}

/** An error for every setting that is missing, or that the engine does not know. */
export function settingFindings(rules: readonly SettingRule[], settings: Settings): Finding[] {
  const findings: Finding[] = [];
  for (const { name, meaning, required } of rules) {
    if (!required || (settings[name] ?? '') !== '') continue;
    findings.push({ level: 'error', subject: name, message: `is missing: ${meaning}`, remedy: optionOf(name) });
  }
  for (const name of Object.keys(settings)) {
    if (rules.some((rule) => rule.name === name)) continue;
    const known = rules.map((rule) => rule.name).join(', ');
    findings.push({
      level: 'error',
      subject: name,
      message: `is no setting of this type; there are ${known}`,
      remedy: '',
    });
  }
  return findings;
}
