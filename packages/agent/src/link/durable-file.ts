// Replacing a small file so that a crash leaves the old one or the new one, never a mixture or nothing.
//
// Hazard: rename alone orders nothing on disk; a file renamed before its bytes are synced may be empty after a power loss
// (threat 3). And an fsync that failed must not be tried again into success (threat 6): the new file is abandoned.
//
// The steps go through a port so that a test can stop between any two of them (identity.test.ts).

import { closeSync, fchmodSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface DurableFiles {
  /** Creates the file (it must not exist) with mode 0600 and writes all bytes; syncs them. */
  createSynced(path: string, bytes: Uint8Array): void;
  rename(from: string, to: string): void;
  syncDirectory(path: string): void;
  removeIfThere(path: string): void;
  list(path: string): string[];
}

export const systemFiles: DurableFiles = {
  createSynced(path, bytes) {
    const fd = openSync(path, 'wx', 0o600);
    try {
      fchmodSync(fd, 0o600);
      for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
  rename: (from, to) => renameSync(from, to),
  syncDirectory(path) {
    const fd = openSync(path, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
  removeIfThere: (path) => rmSync(path, { force: true }),
  list: (path) => readdirSync(path),
};

const TEMPORARY = /^\.(.+)\.[0-9a-f-]{36}\.new$/;

/**
 * Replaces `directory/name`; durable when it returns.
 * @param unique a UUID, for the temporary name
 */
export function replaceFileDurably(
  directory: string,
  name: string,
  bytes: Uint8Array,
  unique: string,
  files: DurableFiles = systemFiles,
): void {
  removeAbandoned(directory, name, files);
  const temporary = join(directory, `.${name}.${unique}.new`);
  try {
    files.createSynced(temporary, bytes);
    files.rename(temporary, join(directory, name));
  } catch (error) {
    removeQuietly(temporary, files);
    throw error;
  }
  files.syncDirectory(directory);
}

/** What an earlier process left when it was killed between writing and renaming. */
function removeAbandoned(directory: string, name: string, files: DurableFiles): void {
  for (const entry of files.list(directory)) {
    if (TEMPORARY.exec(entry)?.[1] === name) removeQuietly(join(directory, entry), files);
  }
}

function removeQuietly(path: string, files: DurableFiles): void {
  try {
    files.removeIfThere(path);
  } catch {
    // It costs a few hundred bytes and the next replacement tries again; the caller's own error says more.
  }
}
