// How a MariaDB server is reached: the words of a source's `dsn`, and the option file that they may name.
//
// Hazard: a password in settings ends up in the catalog, in `source show` and in a process list. A DSN with one is refused; the
// password stays in an option file on the host, and every tool is given that file's name instead.
//
// Tested in dsn.test.ts. `passwordFrom` reads the file; the rest is pure.

import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Settings } from '../../jobs/job.ts';

export interface ServerAddress {
  /** Absolute; takes precedence over host and port. */
  readonly socket: string | undefined;
  readonly host: string;
  readonly port: number;
  /** Empty: what the option file says, or the account that the agent runs as. */
  readonly user: string;
  /** Absolute; undefined: no option file is read at all. */
  readonly defaultsFile: string | undefined;
}

const WORDS = ['socket', 'host', 'port', 'user', 'defaults-file'];

/** The address in a source's settings. Throws INVALID_ARGUMENT with what to write instead. */
export function addressOf(settings: Settings): ServerAddress {
  return parseDsn(settings['dsn'] ?? '');
}

/** By which servers are told apart. Throws INVALID_ARGUMENT. */
export function serverOf(settings: Settings): string {
  const { socket, host, port, defaultsFile = '' } = addressOf(settings);
  return socket ?? `${host}:${port} ${defaultsFile}`;
}

/** @param dsn `socket=/run/mysqld/mysqld.sock user=holdfast defaults-file=/etc/holdfast/shop.cnf` */
export function parseDsn(dsn: string): ServerAddress {
  const words = new Map<string, string>();
  for (const word of dsn.split(/\s+/).filter((text) => text !== '')) {
    const [name = '', ...rest] = word.split('=');
    if (/^(password|passwd|pwd|pass)$/i.test(name)) {
      throw invalid(
        'a password does not belong into the DSN',
        'Write it into a file on the host that only the agent can read ([client] and password=… in it), and name that: defaults-file=/etc/holdfast/shop.cnf',
      );
    }
    if (!WORDS.includes(name) || rest.length === 0) {
      // The word itself is not repeated: it may be a password that was written without its name.
      throw invalid(
        'the DSN has a word that is not known',
        `It is made of ${WORDS.map((known) => `${known}=…`).join(' ')}`,
      );
    }
    words.set(name, rest.join('='));
  }
  const port = words.get('port') ?? '3306';
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw invalid(`port=${port} is no port`, 'Write a number, 3306 say.');
  for (const name of ['socket', 'defaults-file']) {
    if (words.get(name)?.startsWith('/') === false) throw invalid(`${name}= must be an absolute path`, '');
  }
  if (
    words.get('socket') === undefined &&
    words.get('host') === undefined &&
    words.get('defaults-file') === undefined
  ) {
    throw invalid(
      'the DSN names no server',
      "Write socket=… or host=…, for example 'socket=/run/mysqld/mysqld.sock user=holdfast'",
    );
  }
  return {
    socket: words.get('socket'),
    host: words.get('host') ?? '',
    port: Number(port),
    user: words.get('user') ?? '',
    defaultsFile: words.get('defaults-file'),
  };
}

function invalid(message: string, hint: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', message, { hint });
}

/** What the tools of the server are told; first in their arguments. Never a secret: those are in the file. */
export function toolOptions(address: ServerAddress): string[] {
  const options = [address.defaultsFile === undefined ? '--no-defaults' : `--defaults-file=${address.defaultsFile}`];
  if (address.socket !== undefined) options.push(`--socket=${address.socket}`);
  else if (address.host !== '') options.push('--protocol=tcp', `--host=${address.host}`, `--port=${address.port}`);
  if (address.user !== '') options.push(`--user=${address.user}`);
  return options;
}

/** An address with everything that the protocol needs, and the password. */
export interface Login {
  readonly socket: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** Throws FAILED_PRECONDITION when the option file can't be read. @param account that the agent runs as */
export function loginOf(address: ServerAddress, account: string): Login {
  const file =
    address.defaultsFile === undefined ? new Map<string, string>() : optionsIn(readOptionFile(address.defaultsFile));
  const host = address.host === '' ? (file.get('host') ?? '') : address.host;
  const socket = address.socket ?? (address.host === '' ? file.get('socket') : undefined);
  return {
    socket,
    host: host === '' ? '127.0.0.1' : host,
    port: address.host === '' && file.has('port') ? Number(file.get('port')) : address.port,
    user: address.user === '' ? (file.get('user') ?? account) : address.user,
    password: file.get('password') ?? '',
  };
}

function readOptionFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new HoldfastError('FAILED_PRECONDITION', `the option file ${path} cannot be read by the agent`, {
      hint: 'Make the file, readable by the account that the agent runs as and by nobody else.',
      cause,
    });
  }
}

const CLIENT_GROUPS = ['client', 'client-server', 'client-mariadb', 'client-mysql'];

/** The client's options of an option file: https://mariadb.com/kb/en/configuring-mariadb-with-option-files/ */
export function optionsIn(text: string): Map<string, string> {
  const options = new Map<string, string>();
  let inClient = false;
  for (const line of text.split(/\r?\n/).map((raw) => raw.trim())) {
    if (line.startsWith('[')) inClient = CLIENT_GROUPS.includes(line.slice(1, line.indexOf(']')));
    const option = /^([A-Za-z_-]+)\s*=\s*(.*)$/.exec(line);
    if (!inClient || option === null) continue;
    options.set((option[1] ?? '').replaceAll('_', '-'), unquoted(option[2] ?? ''));
  }
  return options;
}

function unquoted(value: string): string {
  const quoted = /^(["'])(.*)\1/.exec(value);
  const text = quoted === null ? value.replace(/\s#.*$/, '').trimEnd() : (quoted[2] ?? '');
  const escapes: Record<string, string> = {
    b: '\b',
    t: '\t',
    n: '\n',
    r: '\r',
    s: ' ',
    '\\': '\\',
    '"': '"',
    "'": "'",
  };
  return text.replaceAll(/\\(.)/g, (whole, letter: string) => escapes[letter] ?? whole);
}

/** The account that this process runs as: who a server with unix_socket takes us for. */
export function accountName(): string {
  return userInfo().username;
}
