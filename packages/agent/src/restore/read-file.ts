// One small file of a snapshot, into memory: what an engine must know before it can begin a restore.
//
// Hazard: a whole restore for a few hundred bytes costs two threads and a sync of the file system, before the first file of
// the real one is written. And bytes that decide where a restore writes must be as surely the snapshot's as any other.
//
// Invariants (read-file.test.ts):
//   R1 the bytes are those of the snapshot: opened against their ids, as long as the entry says, each segment as its tag says;
//   R2 no more than `maxBytes` of a file are ever fetched.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { readAsync } from '@holdfast/shared/format/manifest/node-store';
import { lookup } from '@holdfast/shared/format/manifest/reader';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { tagOf } from '@holdfast/shared/format/tag';
import type { JobDeps } from '../jobs/job.ts';
import { ChunkFetcher } from './chunk-fetcher.ts';
import { checkPieces, piecesOf } from './entry-content.ts';
import { KeyRing, requireDomainSecret } from './key-ring.ts';
import { NodeFetcher } from './node-fetcher.ts';
import { openSnapshot } from './open-snapshot.ts';
import { OpenedChunks } from './opened-chunks.ts';

/**
 * Content of the regular file at `path` of the snapshot that `grant` is for. Throws NOT_FOUND when there is none, DAMAGED,
 * LIMIT_EXCEEDED when it is longer than `maxBytes`, FAILED_PRECONDITION without the domain's secret, CANCELLED, UNREACHABLE.
 */
export async function readSnapshotFile(
  grant: Uint8Array,
  path: ByteString,
  maxBytes: number,
  deps: JobDeps,
  signal: AbortSignal,
): Promise<Buffer> {
  const keys = new KeyRing(requireDomainSecret(deps.identity), deps.identity.domainId);
  const session = await deps.vault.openRead(grant, { signal });
  try {
    const received = (bytes: number): Promise<void> => deps.limiter.take(bytes, signal);
    const snapshot = await openSnapshot(session, keys, deps.identity);
    const nodes = new NodeFetcher(session, keys, received);
    const found = await readAsync(nodes, lookup(snapshot.root, path));
    const entry = found?.leaf.entry(found.index);
    if (found === undefined || entry === undefined || statType(entry.stat) !== 'file') {
      throw new HoldfastError('NOT_FOUND', `the snapshot has no file ${displayPath(path)}`);
    }
    if (statSize(entry.stat) > maxBytes || entry.content.kind === 'tree') {
      throw new HoldfastError('LIMIT_EXCEEDED', `${displayPath(path)} is longer than ${maxBytes} bytes`);
    }
    const pieces = piecesOf(entry);
    const chunks = new OpenedChunks(
      (envelope, id) => keys.open(envelope, { id, kind: ObjectKind.chunk }).plain,
      maxBytes,
    );
    const content = Buffer.alloc(statSize(entry.stat));
    const tagKeys = keys.forEpoch(0);
    for (const piece of pieces) {
      const { segment, position } = piece;
      if (segment.kind !== 'data') continue;
      const wanted = [{ chunk: segment.chunk, shared: true }];
      chunks.supply(
        (await new ChunkFetcher(session, received).fetch(nodes.handleOf(segment.chunk.node), wanted)).chunks,
      );
      checkPieces([piece], chunks, (bytes) => tagOf(tagKeys, bytes));
      content.set(chunks.bytesOf(segment), position);
    }
    return content;
  } finally {
    session.close();
  }
}
