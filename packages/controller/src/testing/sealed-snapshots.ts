// Snapshots of given entries, built and sealed with the format's own code, and served as the vault does: for tests of browsing.

import { generateKeyPairSync } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { ManifestBuilder, type BuilderPorts, type EmittedNode } from '@holdfast/shared/format/manifest/builder';
import type { ChunkReference, Entry, NodeReference } from '@holdfast/shared/format/manifest/entry';
import { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { seal } from '@holdfast/shared/format/seal';
import { encodeSnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';

import type { DamagedFilesDeps } from '../browse/damaged-files.ts';
import type { Domain } from '../fleet/domains.ts';

const statistics = { entries: 1, files: 1, bytesTotal: 0, bytesRead: 0, bytesNew: 0, bytesStored: 0, durationMs: 1 };

export class SealedSnapshots {
  /** Always the same, so that nodes end at the same entries. */
  readonly domain: Domain = { id: 'a-domain', name: 'default', managed: true, keyEpoch: 0 };
  readonly secret = seededBytes('a domain', 32);
  readonly keys = deriveDomainKeys(this.secret, this.domain.id, 0);
  /** Envelopes by hex id. Whoever removes or changes one damages the vault. */
  readonly objects = new Map<string, Buffer>();
  /** Hex ids in the order they were asked for. */
  readonly read: string[] = [];
  /** Nodes of the last manifest, children first. */
  emitted: EmittedNode<NodeReference>[] = [];
  readonly #signing = generateKeyPairSync('ed25519').privateKey;

  readonly ports: BuilderPorts = {
    node: Buffer.from(this.keys.node),
    sealNode: (references, payload) => this.#put(ObjectKind.manifestNode, references, payload),
    onNode: (node) => void this.emitted.push(node),
  };

  readonly deps: DamagedFilesDeps = {
    secretOf: (id) => Promise.resolve(id === this.domain.id ? this.secret : undefined),
    domain: (id) => Promise.resolve({ ...this.domain, id, managed: id === this.domain.id }),
    vault: {
      readObject: (_domain, id) => {
        const key = Buffer.from(id).toString('hex');
        this.read.push(key);
        const envelope = this.objects.get(key);
        if (envelope === undefined) return Promise.reject(new HoldfastError('NOT_FOUND', `object ${key} is missing`));
        return Promise.resolve(envelope);
      },
    },
  };

  /** Entries in manifest order. Returns the snapshot's id. */
  build(entries: Iterable<Entry>): Buffer {
    this.emitted = [];
    const builder = new ManifestBuilder(this.ports);
    for (const entry of entries) builder.add(entry);
    const root = builder.finish();
    const record = {
      domainId: this.domain.id,
      hostId: 'host',
      sourceId: 'source',
      sourceType: 'files',
      sequence: 1,
      previousSnapshotId: undefined,
      startedAtMs: 0,
      finishedAtMs: 1,
      statistics,
      partial: false,
      warningsTotal: 0,
      warnings: [],
    };
    return this.#put(ObjectKind.snapshotRecord, root.id, encodeSnapshotRecord(record, root.id, this.#signing)).id;
  }

  /** A chunk of these bytes, as a node refers to it. */
  chunk(plain: Buffer): ChunkReference {
    return { ...this.#put(ObjectKind.chunk, Buffer.alloc(0), plain), plainLength: plain.length };
  }

  /** Leaves of the last manifest, in order. */
  leaves(): LeafView[] {
    return this.emitted
      .filter(({ kind }) => kind === 'leaf')
      .map(({ sealed, references, payload }) => LeafView.open(sealed.id, sealed.proof, references, payload));
  }

  #put(kind: ObjectKind, references: Uint8Array, payload: Buffer): NodeReference {
    const { id, proof, envelope } = seal(this.keys, kind, references, payload);
    this.objects.set(id.toString('hex'), envelope);
    return { id, proof };
  }
}
