// What stands for and against backing an SQLite database up, and the databases where servers keep them.

import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { DiscoveredSource, Finding } from '../../jobs/job.ts';
import { type DatabaseFile, databaseFileOf, SQLITE_HEADER_BYTES } from './database-file.ts';

const DIRECTORIES = ['/var/lib', '/srv', '/opt', '/var/www'];
const DATABASE_NAME = /\.(?:db|db3|sqlite|sqlite3)$/;
const DEEPEST = 3;
/** Directories looked into, all together: discovery is quick, whatever stands below /srv. */
const MOST_DIRECTORIES = 2_000;
const MOST_PROPOSED = 50;
const LOCK_WAIT_MS = 2_000;
const MIB = 1024 * 1024;

/** @param path of the source, as its settings have it */
export function databaseFindings(path: string): Finding[] {
  if (!path.startsWith('/')) return [error('path', `${path} is no absolute path`, '--path /var/lib/…/app.db')];
  const header = headerOf(path);
  if (header === 'missing') return [error('path', `${path} is not there`, `ls -l ${path}`)];
  if (header === 'unreadable') {
    return [
      error(
        'path',
        `${path} cannot be read by the agent`,
        'Run the agent as root, or give its user the right to read it.',
      ),
    ];
  }
  const format = databaseFileOf(header);
  if (format === undefined) {
    const remedy = 'Name an SQLite 3 database that is not encrypted; other files belong to a source of type files.';
    return [error('path', `${path} is no SQLite database`, remedy)];
  }
  try {
    const database = new DatabaseSync(path, { readOnly: true, timeout: LOCK_WAIT_MS });
    try {
      database.prepare('select count(*) from sqlite_schema').get();
    } finally {
      database.close();
    }
  } catch (thrown) {
    return [
      error(
        'database',
        `SQLite can't read it: ${(thrown as Error).message}`,
        `sqlite3 ${path} 'pragma integrity_check'`,
      ),
    ];
  }
  return [
    { level: 'ok', subject: 'database', message: described(path, format), remedy: '' },
    ...journalFindings(path, format),
  ];
}

function journalFindings(path: string, { writeAheadLog }: DatabaseFile): Finding[] {
  if (writeAheadLog) return [];
  return [
    {
      level: 'warning',
      subject: 'journal_mode',
      message: 'it has no write-ahead log: whoever writes waits while it is copied',
      remedy: `sqlite3 ${path} 'pragma journal_mode=wal', if its program allows that`,
    },
  ];
}

function described(path: string, { pageBytes, writeAheadLog }: DatabaseFile): string {
  const size = `${Math.ceil(statSync(path).size / MIB)} MiB`;
  return `SQLite database, ${size} in pages of ${pageBytes} bytes${writeAheadLog ? ', with a write-ahead log' : ''}`;
}

function error(subject: string, message: string, remedy: string): Finding {
  return { level: 'error', subject, message, remedy };
}

function headerOf(path: string): Buffer | 'missing' | 'unreadable' {
  try {
    const fd = openSync(path, 'r');
    try {
      const header = Buffer.alloc(SQLITE_HEADER_BYTES);
      return header.subarray(0, readSync(fd, header, 0, header.length, 0));
    } finally {
      closeSync(fd);
    }
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'unreadable';
  }
}

/** Databases below the directories where servers keep their data; looks at names first, then at the first bytes. */
export function databasesOnHost(directories: readonly string[] = DIRECTORIES): DiscoveredSource[] {
  const found: DiscoveredSource[] = [];
  let looked = 0;
  let level = directories;
  for (let depth = 0; depth <= DEEPEST; depth++) {
    const next: string[] = [];
    for (const directory of level) {
      if (looked++ >= MOST_DIRECTORIES || found.length >= MOST_PROPOSED) return found;
      for (const entry of entriesOf(directory)) {
        const path = join(directory, entry.name);
        if (entry.isDirectory()) next.push(path);
        else if (entry.isFile() && DATABASE_NAME.test(entry.name)) found.push(...proposalFor(path));
      }
    }
    level = next;
  }
  return found;
}

function entriesOf(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true }).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return [];
  }
}

function proposalFor(path: string): DiscoveredSource[] {
  const header = headerOf(path);
  const format = typeof header === 'string' ? undefined : databaseFileOf(header);
  if (format === undefined || path.includes("'")) return [];
  const name = path
    .slice(path.lastIndexOf('/') + 1)
    .replace(DATABASE_NAME, '')
    .replaceAll(/[^\w-]+/g, '-');
  return [
    {
      type: 'sqlite',
      name,
      settings: { path },
      description: `${described(path, format)}: ${path}`,
      command: `holdfast source add ${name} --host HOST --type sqlite --path '${path}'`,
    },
  ];
}
