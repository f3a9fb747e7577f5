// The thread that writes an SQLite database: a copy by SQLite's own backup in one step, checked, then page by page.
//
// One step is one read transaction: the copy is of one moment. In several steps every write of another process would begin the
// copy anew, and on a busy database it would never end. With a write-ahead log writers go on meanwhile; without one they wait
// for as long as the copy takes (SQLite's own rule). The backup keeps pages where they are, VACUUM INTO does not: so the next
// snapshot stores the changed pages alone.
//
// Hazard: the copy is the size of the database, in the agent's directory: it is made only where it fits, and removed whatever
// happens.

import { basename, join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { closeSync, mkdirSync, openSync, readSync, rmSync, statfsSync, statSync, type Stats } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { fromText } from '@holdfast/shared/base/byte-string';
import { type ProducerContext, runProducer } from '../../backup/producer/run-producer.ts';
import type { EntryMetadata, SnapshotWriter } from '../../backup/snapshot-writer.ts';
import { OwnerNames } from '../../os/owner-names.ts';
import { databaseFileOf, SQLITE_HEADER_BYTES } from './database-file.ts';

const READ_BYTES = 1024 * 1024;
/** How long to wait for a writer to let the database go. */
const LOCK_WAIT_MS = 30_000;
const ALL_PAGES = 2 ** 31 - 1;
const MOST_COMPLAINTS = 20;

runProducer(async (writer, data, context) => {
  const path = data as string;
  const stat = statOf(path);
  const work = join(context.directory, 'sqlite-copy');
  // One that an agent left behind which was killed.
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { mode: 0o700 });
  try {
    const copy = join(work, 'copy');
    checkRoom(work, stat.size);
    await copyDatabase(path, copy);
    context.throwIfCancelled();
    const name = fromText(basename(path));
    for (const complaint of complaintsOf(copy)) writer.warn('damaged', name, complaint);
    context.throwIfCancelled();
    writePages(copy, name, metadataOf(stat), writer, context);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});

function statOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw new HoldfastError('NOT_FOUND', `the database is not there: ${(error as Error).message}`, {
      hint: 'Was it moved? Is its file system mounted?',
    });
  }
}

function checkRoom(directory: string, wantedBytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize > wantedBytes) return;
  throw new HoldfastError(
    'STORAGE_FULL',
    `there is no room for a copy of the database, ${wantedBytes} bytes, in ${directory}`,
    {
      hint: "Make room there, or move the agent's state directory to a larger file system.",
    },
  );
}

async function copyDatabase(path: string, copy: string): Promise<void> {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true, timeout: LOCK_WAIT_MS });
    await backup(database, copy, { rate: ALL_PAGES });
  } catch (error) {
    throw new HoldfastError('FAILED_PRECONDITION', `SQLite could not copy the database: ${(error as Error).message}`, {
      hint: 'Does another program keep it locked? Is it an SQLite database, and not encrypted?',
      cause: error,
    });
  } finally {
    database?.close();
  }
}

/** What SQLite's own check finds in the copy; empty when it is whole. */
function complaintsOf(copy: string): string[] {
  const database = new DatabaseSync(copy, { readOnly: true });
  try {
    const rows = database.prepare(`pragma integrity_check(${MOST_COMPLAINTS})`).all();
    return rows.map((row) => String(row['integrity_check'])).filter((complaint) => complaint !== 'ok');
  } catch (error) {
    return [`the check came to no end: ${(error as Error).message}`];
  } finally {
    database.close();
  }
}

function writePages(
  copy: string,
  name: string,
  metadata: EntryMetadata,
  writer: SnapshotWriter,
  context: ProducerContext,
): void {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const fd = openSync(copy, 'r');
  try {
    const format = databaseFileOf(buffer.subarray(0, readSync(fd, buffer, 0, SQLITE_HEADER_BYTES, 0)));
    // A database into which nothing was ever written is an empty file.
    const file = writer.pages(name, format?.pageBytes ?? 4096);
    context.expect({ files: 1, bytes: statSync(copy).size });
    for (let at = 0, got = -1; got !== 0; at += got) {
      got = readSync(fd, buffer, 0, buffer.length, at);
      file.write(buffer.subarray(0, got));
    }
    file.end(metadata);
  } finally {
    closeSync(fd);
  }
}

function metadataOf({ mode, uid, gid, mtimeMs }: Stats): EntryMetadata {
  const names = new OwnerNames();
  return { mode, uid, gid, user: names.user(uid), group: names.group(gid), mtimeMs: Math.floor(mtimeMs) };
}
