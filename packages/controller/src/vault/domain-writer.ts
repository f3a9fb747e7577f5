// Group commit: one sync and one catalog transaction for many objects of many sessions of a domain.
//
// Hazard: an object that is indexed before its bytes are durable (I2), or whose references nobody has proven (I3), makes a
// snapshot that cannot be restored. So each batch goes one way: prove and stamp references → append → sync → index and
// acknowledge in one transaction → tell the senders. Nothing is told before, and everything of a batch is told at once, so
// acknowledgements keep the order of each stream.
//
// When a write or a sync fails, its pack is given up and the batch is written to new ones, once; the bytes are still here.
// When the transaction fails nobody knows what the catalog holds, so the packs are given up and the senders are told.
//
// Tested in ingest.db.test.ts and pack-faults.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, ObjectKind } from '@holdfast/shared/format/envelope';

import type { Catalog } from '../catalog/catalog.ts';
import { Gathering } from './gathering.ts';
import { claimKey, insertObjects, pinObjects, type NewObject, type Queries } from './object-index.ts';
import { OpenPack, type PackDeps, type StorableObject } from './open-pack.ts';
import { RECORD_HEADER_BYTES, type PackClass } from './pack-format.ts';
import {
  classOf,
  newestEpoch,
  provenReferences,
  sessionChanges,
  unproven,
  type ReceivedObject,
} from './received-object.ts';

export interface StoredOutcome {
  /** Envelope bytes that the vault did not have. */
  readonly newBytes: number;
}

export interface WriterDeps extends PackDeps {
  readonly catalog: Pick<Catalog, 'pool' | 'transaction'>;
  /** The controller process's own id; undefined once its lease is lost. */
  readonly writerId: () => string;
  readonly log: (event: string, fields: Record<string, string | number>) => void;
}

/** Ids must be distinct, and none in the domain already. */
export type AppendObjects = (objects: readonly StorableObject[], epoch: number) => Promise<void>;

interface Pending {
  readonly object: ReceivedObject;
  readonly resolve: (outcome: StoredOutcome) => void;
  readonly reject: (error: HoldfastError) => void;
}

/** A batch is at most this large, so that a sync stays short and a transaction small. */
const BATCH_MAX_BYTES = 32 * 1024 * 1024;
const BATCH_MAX_OBJECTS = 1000;
const BATCH_MAX_REFERENCES = 100_000;
const TRANSACTION_TRIES = 3;

/** Appends to the packs of one domain, one batch or one turn at a time. */
export class DomainWriter {
  readonly #domainId: string;
  readonly #deps: WriterDeps;
  readonly #packs = new Map<PackClass, OpenPack>();
  #pending: Pending[] = [];
  readonly #gathering = new Gathering();
  #turns: (() => Promise<void>)[] = [];
  #running: Promise<void> | undefined;
  #sealing: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(domainId: string, deps: WriterDeps) {
    this.#domainId = domainId;
    this.#deps = deps;
  }

  get idle(): boolean {
    return this.#running === undefined;
  }

  get openPackIds(): string[] {
    return [...this.#packs.values()].map((pack) => pack.identity.id);
  }

  /** Resolves once the object is durable and indexed. Throws FAILED_PRECONDITION when a reference is missing or unproven. */
  store(object: ReceivedObject): Promise<StoredOutcome> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ object, resolve, reject });
      // A record ends what its sender has to say, and the commit waits for it.
      this.#gathering.add(object.envelope.length, object.kind === ObjectKind.snapshotRecord);
      this.#wake();
    });
  }

  /**
   * Runs one transaction of the caller's with the domain's packs at its disposal, between batches. `append` makes objects
   * durable, with one sync a pack, and indexes them in that very transaction, so they stay in the packs only if it commits.
   */
  turn<T>(work: (client: Queries, append: AppendObjects) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#turns.push(() => this.#takeTurn(work).then(resolve, reject));
      this.#gathering.hurry();
      this.#wake();
    });
  }

  /** Seals the open packs. Resolves when that is done or given up. */
  async seal(): Promise<void> {
    this.#gathering.hurry();
    await this.#running;
    const packs = [...this.#packs.values()];
    this.#packs.clear();
    await Promise.all([this.#sealing, ...packs.map((pack) => sealOrDrop(pack))]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.seal();
  }

  #wake(): void {
    if (this.#running !== undefined) return;
    if (this.#stopped) return this.#refuseAll();
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#pending.length > 0 || this.#turns.length > 0) this.#wake();
    });
  }

  #refuseAll(): void {
    const error = new HoldfastError('UNREACHABLE', 'the controller is stopping');
    for (const { reject } of this.#pending.splice(0)) reject(error);
    for (const turn of this.#turns.splice(0)) turn().catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (this.#pending.length > 0 || this.#turns.length > 0) {
      await this.#gathering.enough();
      await this.#turns.shift()?.();
      const batch = this.#takeBatch();
      if (batch.length > 0) await this.#storeBatch(batch);
    }
  }

  #takeBatch(): Pending[] {
    let bytes = 0;
    let references = 0;
    let count = 0;
    for (const { object } of this.#pending) {
      bytes += object.envelope.length;
      references += object.references.length / ID_BYTES;
      const over = bytes > BATCH_MAX_BYTES || references > BATCH_MAX_REFERENCES || count >= BATCH_MAX_OBJECTS;
      if (over && count > 0) break;
      count++;
    }
    return this.#pending.splice(0, count);
  }

  async #storeBatch(batch: Pending[]): Promise<void> {
    try {
      const pinned = await this.#pin(batch);
      const accepted = proven(batch, pinned);
      const { missing, newBytes } = missingOf(accepted, pinned);
      await this.#writeAndIndex(accepted, missing);
      for (const item of accepted) item.resolve({ newBytes: newBytes.get(item) ?? 0 });
    } catch (error) {
      // Rejecting one that was settled already does nothing.
      for (const { reject } of batch) reject(toHoldfastError(error));
    }
  }

  /** What the domain has of the batch, and of what that refers to; stamped for its sessions. */
  #pin(batch: readonly Pending[]): Promise<ReadonlyMap<string, Buffer>> {
    const ids = new Map<string, Buffer>();
    for (const { object } of batch) {
      ids.set(object.key, object.id);
      for (const { id } of provenReferences(object)) ids.set(id.toString('hex'), id);
    }
    return pinObjects(
      this.#deps.pool,
      this.#domainId,
      [...ids.values()],
      newestEpoch(batch.map(({ object }) => object)),
    );
  }

  async #writeAndIndex(accepted: readonly Pending[], missing: readonly ReceivedObject[]): Promise<void> {
    const touched = new Set<OpenPack>();
    let rows: NewObject[];
    try {
      rows = await this.#write(missing, newestEpoch(accepted.map(({ object }) => object)), touched);
    } catch (error) {
      await this.#giveUp(touched, error);
      touched.clear();
      rows = await this.#write(missing, newestEpoch(accepted.map(({ object }) => object)), touched).catch(
        async (again: unknown) => {
          await this.#giveUp(touched, again);
          throw again;
        },
      );
    }
    try {
      await this.#index(accepted, rows, touched);
    } catch (error) {
      await this.#giveUp(touched, error);
      throw error;
    }
    for (const pack of touched) pack.acknowledged();
    this.#sealFull(touched);
  }

  /** Appends and syncs. `touched` holds the packs also when it throws. */
  async #write(objects: readonly StorableObject[], epoch: number, touched: Set<OpenPack>): Promise<NewObject[]> {
    const rows: NewObject[] = [];
    for (const packClass of ['content', 'nodes'] as const) {
      const own = objects.filter((object) => classOf(object.kind) === packClass);
      for (let first = 0; first < own.length;) {
        const pack = await this.#packFor(packClass, own[first]!.envelope.length);
        touched.add(pack);
        let end = first;
        let bytes = 0;
        do {
          bytes += RECORD_HEADER_BYTES + own[end++]!.envelope.length;
        } while (end < own.length && !pack.isFullFor(own[end]!.envelope.length, bytes));
        const part = own.slice(first, end).map((object) => ({ ...object, epoch }));
        for (const row of await pack.append(part)) rows.push(row);
        first = end;
      }
    }
    await Promise.all([...touched].map((pack) => pack.sync()));
    return rows;
  }

  async #index(
    accepted: readonly Pending[],
    rows: readonly NewObject[],
    touched: ReadonlySet<OpenPack>,
  ): Promise<void> {
    const sessions = sessionChanges(
      accepted.map(({ object }) => object),
      rows,
    );
    if (rows.length === 0 && sessions.every((session) => session.records.length === 0)) return;

    await this.#transaction(async (client) => {
      await insertObjects(client, this.#domainId, rows);
      for (const pack of touched) await pack.acknowledgeIn(client);
      for (const { id, bytes, records } of sessions) {
        await client.query(
          `update vault_session set new_bytes = new_bytes + $2, record_ids = record_ids || $3::bytea[] where id = $1`,
          [id, bytes, records],
        );
      }
    });
  }

  /** Again when PostgreSQL chose this one to resolve a conflict: it has rolled back then, for certain. */
  async #transaction<T>(work: (client: Queries) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#deps.catalog.transaction(work);
      } catch (error) {
        if (tries === TRANSACTION_TRIES || !isConflict(error)) throw error;
      }
    }
  }

  async #packFor(packClass: PackClass, lengthBytes: number): Promise<OpenPack> {
    const open = this.#packs.get(packClass);
    if (open !== undefined && !open.isFullFor(lengthBytes)) return open;
    // A full one stays among the touched ones of this batch, or was acknowledged by an earlier batch and is sealed here.
    this.#packs.delete(packClass);
    if (open !== undefined && open.isAcknowledged) this.#sealLater(open);
    const next = await OpenPack.create(this.#domainId, packClass, this.#deps.writerId(), this.#deps);
    this.#packs.set(packClass, next);
    return next;
  }

  #sealFull(touched: ReadonlySet<OpenPack>): void {
    const kept = new Set(this.#packs.values());
    for (const pack of touched) if (!kept.has(pack)) this.#sealLater(pack);
  }

  /** Behind the senders' backs: they wait for records, not for a footer. */
  #sealLater(pack: OpenPack): void {
    this.#sealing = Promise.all([this.#sealing, sealOrDrop(pack)]);
  }

  async #giveUp(touched: ReadonlySet<OpenPack>, error: unknown): Promise<void> {
    const { code, message } = toHoldfastError(error);
    for (const pack of touched) {
      this.#deps.log('vault.pack_given_up', { pack: pack.identity.id, code, message });
      for (const [packClass, open] of this.#packs) if (open === pack) this.#packs.delete(packClass);
      await pack.abandon();
    }
    // A new pack that could not even be created leaves nothing to give up.
    for (const [packClass, open] of this.#packs) if (open.hasFailed) this.#packs.delete(packClass);
  }

  async #takeTurn<T>(work: (client: Queries, append: AppendObjects) => Promise<T>): Promise<T> {
    if (this.#stopped) throw new HoldfastError('UNREACHABLE', 'the controller is stopping');
    const touched = new Set<OpenPack>();
    let finished = false;
    try {
      const result = await this.#deps.catalog.transaction(async (client) => {
        const value = await work(client, (objects, epoch) => this.#appendIn(client, objects, epoch, touched));
        finished = true;
        return value;
      });
      for (const pack of touched) pack.acknowledged();
      this.#sealFull(touched);
      return result;
    } catch (error) {
      // When COMMIT itself failed nobody knows whether it took place, and the record must stay as it is.
      for (const pack of touched) if (finished || !(await pack.rewind())) await this.#giveUp(new Set([pack]), error);
      throw error;
    }
  }

  async #appendIn(
    client: Queries,
    objects: readonly StorableObject[],
    epoch: number,
    touched: Set<OpenPack>,
  ): Promise<void> {
    const rows = await this.#write(objects, epoch, touched).catch(async (error: unknown) => {
      await this.#giveUp(touched, error);
      touched.clear();
      return this.#write(objects, epoch, touched);
    });
    await insertObjects(client, this.#domainId, rows);
    for (const pack of touched) await pack.acknowledgeIn(client);
  }
}

/** Those whose every reference is in the domain, alive and proven, or stands before them in the batch (I3). The others are refused. */
function proven(batch: readonly Pending[], pinned: ReadonlyMap<string, Buffer>): Pending[] {
  const claims = new Set(Array.from(pinned, ([key, proof]) => key + proof.toString('hex')));
  const accepted: Pending[] = [];
  for (const item of batch) {
    const missing = [...provenReferences(item.object)].find(({ key }) => !claims.has(key));
    if (missing === undefined) {
      accepted.push(item);
      claims.add(claimKey(item.object.id, item.object.proof));
    } else {
      item.reject(unproven(item.object, missing.id));
    }
  }
  return accepted;
}

/** What has to be written: each object once. */
function missingOf(
  accepted: readonly Pending[],
  pinned: ReadonlyMap<string, Buffer>,
): { missing: ReceivedObject[]; newBytes: Map<Pending, number> } {
  const present = new Set(pinned.keys());
  const missing: ReceivedObject[] = [];
  const newBytes = new Map<Pending, number>();
  for (const item of accepted) {
    if (present.has(item.object.key)) continue;
    present.add(item.object.key);
    missing.push(item.object);
    newBytes.set(item, item.object.envelope.length);
  }
  return { missing, newBytes };
}

/** Serialization failure and deadlock, by SQLSTATE. */
function isConflict(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '40001' || error.code === '40P01');
}

async function sealOrDrop(pack: OpenPack): Promise<void> {
  await (pack.acknowledgedBytes > 0 ? pack.seal() : pack.abandon());
}
