// Reading what is in a snapshot with a managed domain's key.
//
// Hazard: a sealed domain's names are not ours to read (the controller has no key, and says so); a damaged node must fail
// the listing loudly, never shorten it.
//
// Tested by the end-to-end tests, on snapshots that an agent made.

import { type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import { diff, type Difference } from '@holdfast/shared/format/manifest/diff';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import { readAsync, streamAsync, type AsyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { children, find, lookup, walk, type Found } from '@holdfast/shared/format/manifest/reader';
import { STAT_BYTES, statType } from '@holdfast/shared/format/manifest/stat-record';
import { open } from '@holdfast/shared/format/seal';
import { decodeSnapshotRecord, type SnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import type pg from 'pg';

import { domainSecret, type Domain } from '../fleet/domains.ts';
import type { MasterKey } from '../fleet/master-key.ts';
import type { Vault } from '../vault/contract.ts';

export interface BrowserDeps {
  readonly pool: pg.Pool;
  readonly masterKey: MasterKey;
  readonly vault: Pick<Vault, 'readObject'>;
}

/** The manifests of one domain. */
export interface Browser {
  record(snapshotId: Uint8Array): Promise<SnapshotRecord>;
  /** The entry itself unless it is a directory, then its children; all below it when `recursive`. Throws NOT_FOUND. */
  entries(snapshotId: Uint8Array, path: ByteString, recursive: boolean): AsyncGenerator<Found, void, undefined>;
  diff(from: Uint8Array, to: Uint8Array): AsyncGenerator<Difference, void, undefined>;
  find(snapshotId: Uint8Array, matches: (path: ByteString) => boolean): AsyncGenerator<Found, void, undefined>;
}

/** Throws FAILED_PRECONDITION for a sealed domain. */
export async function openBrowser(deps: BrowserDeps, domain: Domain): Promise<Browser> {
  const secret = await domainSecret(deps.pool, deps.masterKey, domain.id);
  if (secret === undefined) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `the controller does not have the key of the sealed domain ${domain.name}`,
      {
        hint: 'Browse on a host that has it, or restore the snapshot.',
      },
    );
  }
  const keys = deriveDomainKeys(secret, domain.id, domain.keyEpoch);
  const store = nodeStore(deps.vault, domain.id, keys);
  const rootOf = async (snapshotId: Uint8Array): Promise<NodeReference> =>
    (await openRecord(deps, domain, keys, snapshotId)).root;

  return {
    record: async (snapshotId) => (await openRecord(deps, domain, keys, snapshotId)).record,
    async *entries(snapshotId, path, recursive) {
      const root = await rootOf(snapshotId);
      if (recursive) {
        yield* orNotFound(streamAsync(store, walk(root, path)), path);
        return;
      }
      const found = await readAsync(store, lookup(root, path));
      if (found === undefined) throw noSuchPath();
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
  if (!any && path !== '') throw noSuchPath();
}

function noSuchPath(): HoldfastError {
  return new HoldfastError('NOT_FOUND', 'the snapshot has no such path', { hint: 'See: holdfast snapshot browse' });
}

function nodeStore(vault: BrowserDeps['vault'], domainId: string, keys: DomainKeys): AsyncNodeStore {
  return {
    async load(wanted) {
      const envelope = await vault.readObject(domainId, wanted.id);
      const opened = open(keys, envelope, { id: wanted.id, kind: ObjectKind.manifestNode });
      return { references: Buffer.from(opened.references), payload: opened.plain };
    },
  };
}

async function openRecord(
  deps: BrowserDeps,
  domain: Domain,
  keys: DomainKeys,
  snapshotId: Uint8Array,
): Promise<{ record: SnapshotRecord; root: NodeReference }> {
  const envelope = await deps.vault.readObject(domain.id, snapshotId);
  const opened = open(keys, envelope, { id: snapshotId, kind: ObjectKind.snapshotRecord });
  const { record } = decodeSnapshotRecord(opened.plain, opened.references);
  return { record, root: { id: Buffer.from(opened.references.subarray(0, 32)), proof: Buffer.alloc(0) } };
}
