// A vault in memory that takes backups by the vault's own rules: it refuses an object whose references it lacks, and a record
// that does not follow the newest one. It serves what it took, and its content can be looked at.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import type { ByteString } from '@holdfast/shared/base/byte-string';
import { objectId, proofOf, referencesOf } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { PlacedEntry, Segment } from '@holdfast/shared/format/manifest/entry';
import { readSync, streamSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { leaves, lookup } from '@holdfast/shared/format/manifest/reader';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { open } from '@holdfast/shared/format/seal';
import { decodeSnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import type { BackupSession, OutgoingObject, VaultClient } from '../link/vault-port.ts';
import { fakeVault } from './fake-vault.ts';
import { MemoryLog } from './memory-log.ts';

export interface StoredEntry {
  readonly entry: PlacedEntry;
  /** Of a regular file; holes and zeros as zeros. Undefined when it is over a bound. */
  readonly content: Buffer | undefined;
}

const CONTENT_LIMIT = 64 * 1024 * 1024;

export class MemoryVault {
  readonly objects = new Map<string, Buffer>();
  readonly snapshots: Buffer[] = [];
  /** What each snapshot said of its place in a database's log. */
  readonly points: (DatabasePoint | undefined)[] = [];
  probes = 0;
  /** Called before each object is taken; an error breaks the session. */
  beforeObject: (taken: number) => Promise<void> | void = () => undefined;
  baseDamaged = false;
  readonly log = new MemoryLog();

  get client(): VaultClient {
    return {
      ...this.log.client,
      openBackup: async () => this.#session(),
      openRead: async (grant, options) => fakeVault(this.objects, Buffer.from(grant)).client.openRead(grant, options),
      grantOwn: async () => {
        const newest = this.snapshots.at(-1);
        if (newest === undefined) throw new HoldfastError('NOT_FOUND', 'no snapshot');
        return { grant: newest, snapshotId: newest };
      },
    };
  }

  /** Manifest root of a snapshot, the newest by default; hex. */
  rootOf(snapshot: Buffer = this.snapshots.at(-1)!): string {
    return Buffer.from(referencesOf(this.objects.get(snapshot.toString('hex'))!)).toString('hex');
  }

  /** Everything in a snapshot, by path. */
  contents(keys: DomainKeys, snapshot: Buffer = this.snapshots.at(-1)!): Map<ByteString, StoredEntry> {
    const store = this.#store(keys);
    const rootId = Buffer.from(this.rootOf(snapshot), 'hex');
    const found = new Map<ByteString, StoredEntry>();
    for (const leaf of streamSync(store, leaves({ id: rootId, proof: Buffer.alloc(16) }))) {
      leaf.check();
      for (let index = 0; index < leaf.count; index++) {
        const entry = leaf.entry(index);
        found.set(entry.path, { entry, content: this.#contentOf(keys, store, entry) });
      }
    }
    return found;
  }

  /** The segments of a file of the newest snapshot. */
  segments(keys: DomainKeys, path: ByteString): Segment[] {
    const store = this.#store(keys);
    const root = { id: Buffer.from(this.rootOf(), 'hex'), proof: Buffer.alloc(16) };
    const found = readSync(store, lookup(root, path))!;
    const { content, stat } = found.leaf.entry(found.index);
    return [...streamSync(store, readSegments(content, statSize(stat)))];
  }

  record(keys: DomainKeys, snapshot: Buffer = this.snapshots.at(-1)!) {
    const opened = open(keys, this.objects.get(snapshot.toString('hex'))!, { id: snapshot });
    return decodeSnapshotRecord(opened.plain, opened.references).record;
  }

  #store(keys: DomainKeys): SyncNodeStore {
    return {
      load: ({ id }) => {
        const opened = open(keys, this.objects.get(id.toString('hex'))!, { id });
        return { references: Buffer.from(opened.references), payload: opened.plain };
      },
    };
  }

  #contentOf(keys: DomainKeys, store: SyncNodeStore, entry: PlacedEntry): Buffer | undefined {
    if (statType(entry.stat) !== 'file') return undefined;
    const size = statSize(entry.stat);
    const content = size > CONTENT_LIMIT ? undefined : Buffer.alloc(size);
    let at = 0;
    for (const segment of streamSync(store, readSegments(entry.content, size))) {
      if (segment.kind === 'data' && content !== undefined) {
        const { plain } = open(keys, this.objects.get(segment.chunk.id.toString('hex'))!, { id: segment.chunk.id });
        plain.copy(content, at, segment.offset, segment.offset + segment.length);
      }
      at += segment.length;
    }
    if (at !== size) throw new Error(`${entry.path}: segments of ${at} bytes in a file of ${size}`);
    return content;
  }

  #session(): BackupSession {
    const newest = this.snapshots.at(-1);
    let taken = 0;
    let newBytes = 0;
    const session: BackupSession = {
      sessionId: 'memory',
      latestSnapshotId: newest,
      latestSequence: this.snapshots.length,
      baseDamaged: this.baseDamaged,
      windowBytes: 1 << 20,
      onStored: undefined,
      get storedCount() {
        return taken;
      },
      get newBytes() {
        return newBytes;
      },
      probe: async (ids) => {
        this.probes++;
        const hex = Buffer.from(ids).toString('hex');
        return Uint8Array.from({ length: ids.length / 32 }, (_, i) =>
          this.objects.has(hex.slice(i * 64, i * 64 + 64)) ? 1 : 0,
        );
      },
      send: async (object) => {
        await this.beforeObject(taken);
        newBytes += this.#take(object);
        taken++;
        session.onStored?.(taken, newBytes);
      },
      drained: async () => undefined,
      commit: async ({ recordId, sequence, point }) => {
        if (sequence !== this.snapshots.length + 1) throw new HoldfastError('SESSION_ENDED', 'a wrong sequence');
        this.snapshots.push(Buffer.from(recordId));
        this.points.push(point);
        return { snapshotId: recordId, committedAtMs: Date.now() };
      },
      close: () => undefined,
    };
    return session;
  }

  /** Bytes added. */
  #take({ id, envelope, referenceProofs }: OutgoingObject): number {
    const hex = Buffer.from(id).toString('hex');
    if (!objectId(envelope).equals(id)) throw new HoldfastError('PROTOCOL_VIOLATION', 'not its id');
    const references = Buffer.from(referencesOf(envelope));
    for (let i = 0; i < references.length / 32; i++) {
      const referred = this.objects.get(references.toString('hex', i * 32, i * 32 + 32));
      if (referred === undefined) throw new HoldfastError('PROTOCOL_VIOLATION', 'a missing reference');
      const proof = Buffer.from(referenceProofs ?? []).subarray(i * 16, i * 16 + 16);
      if (!proofOf(referred).equals(proof))
        throw new HoldfastError('PROTOCOL_VIOLATION', 'a reference without its proof');
    }
    if (this.objects.has(hex)) return 0;
    this.objects.set(hex, Buffer.from(envelope));
    return envelope.length;
  }
}
