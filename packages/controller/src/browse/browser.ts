// Reading what is in a snapshot with a managed domain's key.
//
// Hazards: a damaged node must fail the listing loudly, never shorten it; a listing of millions must not be held in memory:
// nodes are read as they are needed, and only those that may hold what was asked for.
//
// Tested in browser.test.ts.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { diff, type Difference } from '@holdfast/shared/format/manifest/diff';
import { readAsync, streamAsync } from '@holdfast/shared/format/manifest/node-store';
import { children, find, lookup, walk, type Found } from '@holdfast/shared/format/manifest/reader';
import { STAT_BYTES, statType } from '@holdfast/shared/format/manifest/stat-record';
import type { SnapshotRecord } from '@holdfast/shared/format/snapshot-record';

import type { Domain } from '../fleet/domains.ts';
import { openManifests, type ManifestsDeps } from './manifests.ts';

/** The manifests of one domain. */
export interface Browser {
  record(snapshotId: Uint8Array): Promise<SnapshotRecord>;
  /** The entry itself unless it is a directory, then its children; all below it when `recursive`. Throws NOT_FOUND. */
  entries(snapshotId: Uint8Array, path: ByteString, recursive: boolean): AsyncGenerator<Found, void, undefined>;
  diff(from: Uint8Array, to: Uint8Array): AsyncGenerator<Difference, void, undefined>;
  find(snapshotId: Uint8Array, matches: (path: ByteString) => boolean): AsyncGenerator<Found, void, undefined>;
}

/** Throws FAILED_PRECONDITION for a sealed domain. */
export async function openBrowser(deps: ManifestsDeps, domain: Domain): Promise<Browser> {
  const manifests = await openManifests(deps, domain);
  const { store } = manifests;
  const rootOf = async (snapshotId: Uint8Array) => (await manifests.snapshot(snapshotId)).root;

  return {
    record: async (snapshotId) => (await manifests.snapshot(snapshotId)).record,
    async *entries(snapshotId, path, recursive) {
      const root = await rootOf(snapshotId);
      if (recursive) {
        yield* orNotFound(streamAsync(store, walk(root, path)), path);
        return;
      }
      const found = await readAsync(store, lookup(root, path));
      if (found === undefined) throw noSuchPath(path);
      if (statType(found.leaf.stats, found.index * STAT_BYTES) !== 'directory') yield found;
      else yield* streamAsync(store, children(root, path));
    },
    async *diff(from, to) {
      yield* streamAsync(store, diff(await rootOf(from), await rootOf(to)));
    },
    async *find(snapshotId, matches) {
      yield* streamAsync(
        store,
        find(await rootOf(snapshotId), '', (found) => matches(found.path)),
      );
    },
  };
}

async function* orNotFound(
  found: AsyncGenerator<Found, void, undefined>,
  path: ByteString,
): AsyncGenerator<Found, void, undefined> {
  let any = false;
  for await (const item of found) {
    any = true;
    yield item;
  }
  if (!any && path !== '') throw noSuchPath(path);
}

function noSuchPath(path: ByteString): HoldfastError {
  return new HoldfastError('NOT_FOUND', `the snapshot has nothing at ${displayPath(path)}`, {
    hint: 'Paths are named from the root of the source: `holdfast snapshot show SNAPSHOT /` lists it.',
  });
}
