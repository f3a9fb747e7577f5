// How a PostgreSQL server is reached: libpq's connection strings, in words or as a URI
// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING), and its password file.
//
// Hazard: a password in settings ends up in the catalog and on screens. A DSN with one is refused; it stays in a file on the
// host, in the form of ~/.pgpass, named by `passfile`.
//
// Pure but for `passwordFor`. Tested in dsn.test.ts.

import { readFileSync, statSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';

export interface ServerAddress {
  /** A directory (of the unix socket) when it begins with a slash. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly passfile: string | undefined;
  readonly sslMode: SslMode;
  readonly sslRootCertificate: string | undefined;
}

const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof SSL_MODES)[number];

const WORDS = ['host', 'port', 'user', 'dbname', 'passfile', 'sslmode', 'sslrootcert'];
const DEFAULT_HOST = '/var/run/postgresql';

/** @param account that stands in for a missing user. Throws INVALID_ARGUMENT; never repeats what it does not know. */
export function parseDsn(dsn: string, account: string): ServerAddress {
  const words = /^postgres(ql)?:\/\//.test(dsn.trim()) ? wordsOfUri(dsn.trim()) : wordsOf(dsn);
  if (words.has('password')) {
    throw invalid(
      'a password does not belong into the DSN',
      'Write it into a file on the host that only the agent can read, as host:port:database:user:password (* for any), and name that: passfile=/etc/holdfast/db.pass',
    );
  }
  for (const name of words.keys()) {
    if (!WORDS.includes(name)) {
      throw invalid(
        'the DSN has a word that is not known',
        `It is made of ${WORDS.map((known) => `${known}=…`).join(' ')}`,
      );
    }
  }
  const port = Number(words.get('port') ?? 5432);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw invalid('the DSN has a port that is none', 'port=5432');
  const sslMode = SSL_MODES.find((mode) => mode === (words.get('sslmode') ?? 'disable'));
  if (sslMode === undefined) throw invalid('the DSN has an sslmode that is none', `Use ${SSL_MODES.join(', ')}.`);
  const passfile = words.get('passfile');
  if (passfile !== undefined && !passfile.startsWith('/')) throw invalid('passfile= must be an absolute path', '');
  const user = words.get('user') ?? account;
  return {
    host: words.get('host') ?? DEFAULT_HOST,
    port,
    user,
    database: words.get('dbname') ?? user,
    passfile,
    sslMode,
    sslRootCertificate: words.get('sslrootcert'),
  };
}

/** "/run/postgresql, port 5432" · "db.example:5432" */
export function addressText({ host, port }: ServerAddress): string {
  return host.startsWith('/') ? `${host}, port ${port}` : `${host}:${port}`;
}

/** name=value, values in single quotes where they hold blanks, with \' and \\ in them. */
function wordsOf(text: string): Map<string, string> {
  const words = new Map<string, string>();
  const word = /\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)/gy;
  while (word.lastIndex < text.trimEnd().length) {
    const match = word.exec(text);
    if (match === null)
      throw invalid('the DSN is not made of words', "Write it as 'host=/run/postgresql user=holdfast'.");
    words.set(match[1]!, (match[2] ?? match[3] ?? '').replace(/\\(.)/g, '$1'));
  }
  return words;
}

function wordsOfUri(text: string): Map<string, string> {
  let uri: URL;
  try {
    uri = new URL(text);
  } catch {
    throw invalid('the DSN is no URI', 'Write it as postgresql://user@host:5432/dbname.');
  }
  const words = new Map(uri.searchParams);
  const put = (name: string, value: string): void => {
    if (value !== '') words.set(name, decodeURIComponent(value));
  };
  put('host', uri.hostname);
  put('port', uri.port);
  put('user', uri.username);
  put('password', uri.password);
  put('dbname', uri.pathname.slice(1));
  return words;
}

/** From the passfile's first line that fits; undefined without one. Throws FAILED_PRECONDITION when it can't be read, or others can. */
export function passwordFor(address: ServerAddress): string | undefined {
  const { passfile } = address;
  if (passfile === undefined) return undefined;
  let text: string;
  try {
    const { mode } = statSync(passfile);
    if ((mode & 0o077) !== 0) {
      throw new HoldfastError('FAILED_PRECONDITION', `the passfile ${passfile} can be read by others`, {
        hint: `chmod 600 ${passfile}`,
      });
    }
    text = readFileSync(passfile, 'utf8');
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    throw new HoldfastError('FAILED_PRECONDITION', `the passfile ${passfile} cannot be read by the agent`, {
      hint: 'Make it, with a line host:port:database:user:password (* for any), readable by the agent’s account alone.',
      cause,
    });
  }
  const wanted = [address.host, String(address.port), address.database, address.user];
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const fields = line.split(/(?<!\\):/).map((field) => field.replace(/\\(.)/g, '$1'));
    if (fields.length < 5) continue;
    // A replication connection asks for the database "replication".
    const fits = wanted.every((value, index) => fields[index] === '*' || fields[index] === value);
    if (fits) return fields.slice(4).join(':');
  }
  return undefined;
}

function invalid(message: string, hint: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', message, { hint });
}
