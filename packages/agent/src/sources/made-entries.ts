// Metadata of entries that an engine makes itself: files of the agent's own user, closed to everybody else.

import type { EntryMetadata, OpenStream, SnapshotWriter } from '../backup/snapshot-writer.ts';
import { BUNDLE_FILE_LIMIT_BYTES } from '@holdfast/shared/format/bundle';

export function madeEntry(mtimeMs: number, mode = 0o600): EntryMetadata {
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  return { mode, ...owner, user: '', group: '', mtimeMs };
}

/** Bytes that are at hand, as one file. */
export function writeWhole(writer: SnapshotWriter, path: string, metadata: EntryMetadata, bytes: Uint8Array): void {
  if (bytes.length < BUNDLE_FILE_LIMIT_BYTES) {
    writer.smallFile(path, metadata, bytes);
    return;
  }
  const file: OpenStream = writer.stream(path);
  file.write(bytes);
  file.end(metadata);
}
