// From the words of `source add` to what an engine is told. What a setting means is the engine's to say: the agent checks it.
//
// Hazard: a password that stands in an argument stands in the shell's history and in /proc for everybody. It is refused here,
// before it goes anywhere.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { EngineSource } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

/** Those that this command line knows how to spell; an agent may know more. */
export const SOURCE_TYPES = [
  'files',
  'postgres',
  'mariadb',
  'sqlite',
  'redis',
  'command',
  'image',
  'blueprint',
] as const;

export interface EngineOptions {
  readonly type: string;
  readonly dsn?: string | undefined;
  readonly path?: readonly string[] | undefined;
  /** A program and its arguments, one word each. */
  readonly run?: readonly string[] | undefined;
  /** name=value */
  readonly set?: readonly string[] | undefined;
}

/** Throws USAGE. */
export function engineSource(options: EngineOptions): EngineSource {
  return { type: options.type, settings: engineSettings(options) };
}

/** In order of their names. Throws USAGE. */
export function engineSettings(options: EngineOptions): EngineSource['settings'] {
  const settings = new Map<string, string>();
  const put = (name: string, value: string): void => {
    if (settings.has(name)) throw new HoldfastError('USAGE', `${name} is given twice`);
    settings.set(name, value);
  };
  if (options.dsn !== undefined) put('dsn', options.dsn);
  const paths = options.path ?? [];
  if (paths.length > 1) {
    throw new HoldfastError('USAGE', `a ${options.type} source has one path`, { hint: 'Add a source for each.' });
  }
  if (paths[0] !== undefined) put('path', paths[0]);
  if (options.run !== undefined) put('run', JSON.stringify(options.run));
  for (const word of options.set ?? []) {
    const at = word.indexOf('=');
    if (at < 1) throw new HoldfastError('USAGE', `"${word}" is not a setting`, { hint: 'Write --set name=value.' });
    put(word.slice(0, at), word.slice(at + 1));
  }
  for (const [name, value] of settings) refusePassword(name, value);
  return Array.from(settings, ([name, value]) => ({ name, value })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function refusePassword(name: string, value: string): void {
  const words = /(^|[\s&?])password\s*=/i.test(value) || /^\w+:\/\/[^/@\s:]+:[^@\s]+@/.test(value);
  if (!words && !/^(password|secret)$/i.test(name)) return;
  throw new HoldfastError('USAGE', `${name} holds a password`, {
    hint: 'Put it into a file on the host that the agent alone can read, and name that: passfile=/etc/holdfast/db.pass (PostgreSQL), defaults-file=/etc/holdfast/db.cnf (MariaDB).',
  });
}
