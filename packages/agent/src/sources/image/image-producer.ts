// The thread that writes a disk image: page by page, holes unread.
//
// Hazard: an image that a running machine writes to is of several moments. It is taken all the same, and named: many guests
// recover from it as from a power cut, and an operator who reads the warning can do better.

import { basename } from 'node:path';
import { closeSync, fstatSync, openSync, readFileSync, readSync, type BigIntStats } from 'node:fs';
import { toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { type ProducerContext, runProducer } from '../../backup/producer/run-producer.ts';
import type { EntryMetadata, OpenStream, SnapshotWriter } from '../../backup/snapshot-writer.ts';
import { extentsOf } from '../../os/extents.ts';
import { OwnerNames } from '../../os/owner-names.ts';
import { HEADER_BYTES, imageFormatOf } from './image-format.ts';
import { deviceOf, isLocked } from './image-locks.ts';

const READ_BYTES = 1024 * 1024;
const BLOCK_BYTES = 512n;

runProducer((writer, data, context) => {
  const path = data as ByteString;
  const fd = openImage(path);
  try {
    takeImage(path, fd, writer, context);
  } finally {
    closeSync(fd);
  }
});

function openImage(path: ByteString): number {
  try {
    return openSync(toBytes(path), 'r');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new HoldfastError(
      missing ? 'NOT_FOUND' : 'NOT_ALLOWED',
      `the image can't be opened: ${(error as Error).message}`,
      {
        hint: missing ? 'Was it moved? Is its file system mounted?' : 'Run the agent as root, or let its user read it.',
      },
    );
  }
}

function takeImage(path: ByteString, fd: number, writer: SnapshotWriter, context: ProducerContext): void {
  const name = basename(path);
  const before = fstatSync(fd, { bigint: true });
  if (!before.isFile()) throw new HoldfastError('FAILED_PRECONDITION', 'the image is no regular file');
  const size = Number(before.size);
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const { pageBytes } = imageFormatOf(buffer.subarray(0, readSync(fd, buffer, 0, HEADER_BYTES, 0)));
  context.expect({ files: 1, bytes: size });
  const file = writer.pages(name, pageBytes);
  for (const { kind, offset, length } of extentsOf(fd, size, Number(before.blocks * BLOCK_BYTES))) {
    if (kind !== 'data') file.skip(length, kind);
    // It was cut short meanwhile: what follows is not there any more.
    else if (!copyExtent(fd, file, buffer, offset, offset + length)) break;
  }
  const after = fstatSync(fd, { bigint: true });
  const { major, minor } = deviceOf(Number(before.dev));
  if (after.mtimeNs !== before.mtimeNs || file.length !== size) {
    writer.warn('changed-while-read', name, 'changed while it was read: its content is of several moments');
  } else if (isLocked(readFileSync('/proc/locks', 'utf8'), { major, minor }, Number(before.ino))) {
    writer.warn('in-use', name, 'a program holds it open: what that has not written yet is missing');
  }
  file.end(metadataOf(before));
}

/** False when the file ended before `end`. */
function copyExtent(fd: number, file: OpenStream, buffer: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end;) {
    const got = readSync(fd, buffer, 0, Math.min(buffer.length, end - at), at);
    if (got === 0) return false;
    file.write(buffer.subarray(0, got));
    at += got;
  }
  return true;
}

function metadataOf(stat: BigIntStats): EntryMetadata {
  const names = new OwnerNames();
  const uid = Number(stat.uid);
  const gid = Number(stat.gid);
  const mtimeMs = Number(stat.mtimeNs / 1_000_000n);
  return { mode: Number(stat.mode), uid, gid, user: names.user(uid), group: names.group(gid), mtimeMs };
}
