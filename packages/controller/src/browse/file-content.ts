// One file's content out of a snapshot, for the operator's eyes: small files of managed domains.
//
// Hazard: a file of terabytes asked for by mistake. Its size is looked at before anything of it is read, and one chunk is held at
// a time.
//
// Tested in file-content.test.ts.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { readAsync, streamAsync } from '@holdfast/shared/format/manifest/node-store';
import { lookup } from '@holdfast/shared/format/manifest/reader';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { open } from '@holdfast/shared/format/seal';

import type { Domain } from '../fleet/domains.ts';
import { openManifests, type ManifestsDeps } from './manifests.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

/**
 * The bytes of a regular file, in order, in pieces of at most a chunk's size. Throws NOT_FOUND, INVALID_ARGUMENT (no regular file),
 * LIMIT_EXCEEDED (larger than `maxBytes`), FAILED_PRECONDITION (a sealed domain), DAMAGED.
 */
export async function* readFile(
  deps: ManifestsDeps,
  domain: Domain,
  snapshotId: Uint8Array,
  path: ByteString,
  maxBytes: number,
): AsyncGenerator<Buffer> {
  const manifests = await openManifests(deps, domain);
  const { store } = manifests;
  const found = await readAsync(store, lookup((await manifests.snapshot(snapshotId)).root, path));
  if (found === undefined) throw new HoldfastError('NOT_FOUND', `the snapshot has nothing at ${displayPath(path)}`);
  const entry = found.leaf.entry(found.index);
  if (statType(entry.stat) !== 'file') {
    throw new HoldfastError('INVALID_ARGUMENT', `${displayPath(path)} is no regular file`);
  }
  const size = statSize(entry.stat);
  if (size > maxBytes) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `${displayPath(path)} has ${size} bytes, more than the ${maxBytes} asked for`,
      {
        hint: 'Restore it instead: holdfast restore HOST/SOURCE --path PATH --to HOST:DIR',
      },
    );
  }
  const secret = await deps.secretOf(domain.id);
  if (secret === undefined) throw new HoldfastError('FAILED_PRECONDITION', 'the domain is sealed');
  const keys = deriveDomainKeys(secret, domain.id, domain.keyEpoch);
  for await (const segment of streamAsync(store, readSegments(entry.content, size))) {
    if (segment.kind !== 'data') {
      yield* zeros(segment.length);
      continue;
    }
    const { id } = segment.chunk;
    const { plain } = open(keys, await deps.vault.readObject(domain.id, id), { id, kind: ObjectKind.chunk });
    if (segment.offset + segment.length > plain.length) {
      throw new HoldfastError('DAMAGED', `a chunk of ${displayPath(path)} is shorter than the manifest says`);
    }
    yield plain.subarray(segment.offset, segment.offset + segment.length);
  }
}

function* zeros(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
}
