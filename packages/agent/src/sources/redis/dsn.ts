// How a Redis server is reached: the words of a source's `dsn`.
//
// Hazard: a password in settings ends up in the catalog and on screens. It stays in a file on the host, named by `passfile`.

import { readFileSync, statSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';

export interface RedisAddress {
  /** Absolute; undefined: host and port. */
  readonly socket: string | undefined;
  readonly host: string;
  readonly port: number;
  /** Empty: the default user. */
  readonly user: string;
  readonly passfile: string | undefined;
  readonly tls: boolean;
}

const WORDS = ['socket', 'host', 'port', 'user', 'passfile', 'tls'] as const;

/** @param dsn `socket=/run/redis/redis.sock`, `host=127.0.0.1 port=6379 passfile=/etc/holdfast/redis.pass`. Throws INVALID_ARGUMENT. */
export function parseDsn(dsn: string): RedisAddress {
  const words = new Map<string, string>();
  for (const word of dsn.split(/\s+/).filter((text) => text !== '')) {
    const at = word.indexOf('=');
    const name = word.slice(0, Math.max(0, at));
    // The word itself is not repeated: it may be a password that was written without its name.
    if (!WORDS.some((known) => known === name)) {
      throw new HoldfastError('INVALID_ARGUMENT', 'the DSN has a word that is not known', {
        hint: `It is made of ${WORDS.map((known) => `${known}=…`).join(' ')}; the password stands in the passfile.`,
      });
    }
    words.set(name, word.slice(at + 1));
  }
  const port = Number(words.get('port') ?? 6379);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new HoldfastError('INVALID_ARGUMENT', 'the DSN has a port that is none', { hint: 'Write port=6379.' });
  }
  for (const name of ['socket', 'passfile'] as const) {
    if (words.get(name)?.startsWith('/') === false) {
      throw new HoldfastError('INVALID_ARGUMENT', `${name}= must be an absolute path`);
    }
  }
  return {
    socket: words.get('socket'),
    host: words.get('host') ?? '127.0.0.1',
    port,
    user: words.get('user') ?? '',
    passfile: words.get('passfile'),
    tls: words.get('tls') === 'on',
  };
}

export function addressText({ socket, host, port }: RedisAddress): string {
  return socket ?? `${host}:${port}`;
}

/** The first line of the passfile; empty without one. Throws FAILED_PRECONDITION when it can't be read, or others can. */
export function readPassword({ passfile }: RedisAddress): string {
  if (passfile === undefined) return '';
  let mode: number;
  let text: string;
  try {
    mode = statSync(passfile).mode;
    text = readFileSync(passfile, 'utf8');
  } catch (cause) {
    throw new HoldfastError('FAILED_PRECONDITION', `the passfile ${passfile} cannot be read by the agent`, {
      hint: 'Make it, with the password as its only line, readable by the agent’s account alone.',
      cause,
    });
  }
  if ((mode & 0o077) !== 0) {
    throw new HoldfastError('FAILED_PRECONDITION', `the passfile ${passfile} can be read by others`, {
      hint: `chmod 600 ${passfile}`,
    });
  }
  return text.split('\n')[0]!.trimEnd();
}
