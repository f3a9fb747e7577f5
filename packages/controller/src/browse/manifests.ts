// A managed domain's snapshot records and manifest nodes, opened with the domain's key.
//
// Hazard: a sealed domain's names are not ours to read (the controller has no key, and says so); what is not the very object
// that was asked for is refused before anything of it is used.
//
// Tested in browser.test.ts and damaged-files.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import type { AsyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { open } from '@holdfast/shared/format/seal';
import { decodeSnapshotRecord, type SnapshotRecord } from '@holdfast/shared/format/snapshot-record';

import type { Domain } from '../fleet/domains.ts';
import type { Vault } from '../vault/contract.ts';

export interface ManifestsDeps {
  /** Of a domain, 32 bytes; undefined for a sealed one. */
  readonly secretOf: (domainId: string) => Promise<Uint8Array | undefined>;
  readonly vault: Pick<Vault, 'readObject'>;
}

export interface OpenedSnapshot {
  readonly record: SnapshotRecord;
  readonly root: NodeReference;
}

export interface Manifests {
  readonly store: AsyncNodeStore;
  /** Throws NOT_FOUND, DAMAGED. */
  snapshot(id: Uint8Array): Promise<OpenedSnapshot>;
}

/** Throws FAILED_PRECONDITION for a sealed domain. */
export async function openManifests(deps: ManifestsDeps, domain: Domain): Promise<Manifests> {
  const secret = await deps.secretOf(domain.id);
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
  return {
    store: {
      async load(wanted) {
        const envelope = await deps.vault.readObject(domain.id, wanted.id);
        const opened = open(keys, envelope, { id: wanted.id, kind: ObjectKind.manifestNode });
        return { references: Buffer.from(opened.references), payload: opened.plain };
      },
    },
    async snapshot(id) {
      const envelope = await deps.vault.readObject(domain.id, id);
      const opened = open(keys, envelope, { id, kind: ObjectKind.snapshotRecord });
      const { record } = decodeSnapshotRecord(opened.plain, opened.references);
      return { record, root: { id: Buffer.from(opened.references.subarray(0, ID_BYTES)), proof: Buffer.alloc(0) } };
    },
  };
}
