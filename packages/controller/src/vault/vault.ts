// The vault of one controller process: sessions and streams in, grants and objects out, packs underneath.
//
// Order on start: the target is the right one → this process is registered as a writer → packs of dead writers are finished
// → streams are let in. Order on stop: streams end → open packs are sealed → the writer's row goes. A process that is killed
// at any moment leaves rows and tails that the next start (or another controller, once the lease has run out) cleans up.
//
// What each part guards against stands in its own file: ingest-stream, domain-writer, snapshot-commit, read-stream,
// pack-recovery, verify, rebuild.

import { randomBytes, randomUUID } from 'node:crypto';

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, ObjectKind, referencesOf } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../catalog/catalog.ts';
import { ByteLru } from './byte-lru.ts';
import type {
  BackupStream,
  BeginBackup,
  Caller,
  LogBound,
  LogReadStream,
  LogStoreStream,
  ReadStream,
  Vault,
  VaultState,
  VerifyReport,
} from './contract.ts';
import { DomainWriter } from './domain-writer.ts';
import { checkGrant, checkLogGrant, makeGrant, makeLogGrant } from './grant.ts';
import { ByteBudget, DEFAULT_LIMITS, type VaultLimits } from './ingest-limits.ts';
import { IngestStream } from './ingest-stream.ts';
import { appendToLog, overtaken } from './log-append.ts';
import { isBaseNeeded } from './log-bases.ts';
import { GrantedLogRead } from './log-read.ts';
import { headsOf, loadRuns, takeLogWriter } from './log-rows.ts';
import { LogStore } from './log-store.ts';
import { locateObjects, markAbsent, pinPresent, storedBytes } from './object-index.ts';
import { readRange, type PlacedObject } from './object-reader.ts';
import { recoverPacks } from './pack-recovery.ts';
import { findHurtSnapshots, flagSnapshots } from './reachability.ts';
import { GrantedReadStream } from './read-stream.ts';
import { Room } from './room.ts';
import {
  beginSession,
  forgetOldSessions,
  latestSnapshot,
  renewSession,
  resumeSession,
  type Session,
} from './sessions.ts';
import { commitSnapshot, type SourceIdentity } from './snapshot-commit.ts';
import type { VaultStorage } from './storage.ts';
import { checkTarget } from './target-identity.ts';
import { WatchedStorage } from './watched-storage.ts';
import { verifyPacks, type VerifyOptions, type VerifyScope } from './verify.ts';
import { buryDeadWriters, registerWriter, removeWriter, renewWriter } from './writer-lease.ts';

export interface VaultDeps {
  readonly catalog: Pick<Catalog, 'pool' | 'transaction'>;
  readonly storage: VaultStorage;
  readonly clock: Clock;
  readonly log: (event: string, fields: Record<string, string | number>) => void;
  /** Of the reserved system domain: seal the controller's own records. */
  readonly systemKeys: DomainKeys;
  /** 32 secret bytes, the same on all replicas. */
  readonly grantKey: Uint8Array;
  /** What the fleet knows of a source; undefined for an unknown or removed one. */
  readonly describeSource: (sourceId: string) => Promise<SourceIdentity | undefined>;
  /** True when no other controller can be using this catalog (it is the embedded one): what a killed process left is finished at once. */
  readonly soleWriter: boolean;
  readonly limits?: Partial<VaultLimits>;
  /** Kept free on the target; undefined: the default (room.ts). */
  readonly reserveBytes?: number | undefined;
  /** What a domain may store; 0: no bound. */
  readonly quotaBytes?: (domainId: string) => Promise<number>;
  readonly randomBytes?: (size: number) => Buffer;
}

const REFERENCE_CACHE_BYTES = 32 * 1024 * 1024;
const HOUSEKEEPING_MS = 10_000;

/** Starts the vault. Throws FAILED_PRECONDITION when the target is not this catalog's. */
export async function openVault(deps: VaultDeps): Promise<Vault> {
  const vault = new LocalVault(deps);
  await vault.start();
  return vault;
}

class LocalVault implements Vault {
  readonly #deps: VaultDeps;
  readonly #limits: VaultLimits;
  readonly #budget: ByteBudget;
  readonly #writers = new Map<string, { writer: DomainWriter; usedAtMs: number }>();
  readonly #streams = new Map<string, Set<BackupStream>>();
  /** By source. */
  readonly #logs = new Map<string, { readonly hostId: string; readonly log: LogStoreStream }>();
  readonly #references = new ByteLru(REFERENCE_CACHE_BYTES);
  readonly #storage: WatchedStorage;
  readonly #room: Room;
  #writerId: string = randomUUID();
  #housekeeping: Timer | undefined;
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: VaultDeps) {
    this.#deps = deps;
    this.#limits = { ...DEFAULT_LIMITS, ...deps.limits };
    this.#budget = new ByteBudget(Math.max(this.#limits.bufferedBytes, this.#limits.objectBytes));
    const { clock, log, catalog, reserveBytes, quotaBytes } = deps;
    this.#storage = new WatchedStorage(deps.storage, { clock, log, stallMs: this.#limits.storageStallMs });
    this.#room = new Room({
      clock,
      reserveBytes,
      space: () => this.#storage.space(),
      quotaBytes: quotaBytes ?? (() => Promise.resolve(0)),
      storedBytes: (domainId) => storedBytes(catalog.pool, domainId),
    });
  }

  async start(): Promise<void> {
    const { catalog, soleWriter } = this.#deps;
    await checkTarget(catalog.pool, this.#storage);
    await this.#room.sample();
    await registerWriter(catalog.pool, this.#writerId, this.#limits.writerLeaseMs);
    await this.#recover(soleWriter);
    this.#keepHouse();
  }

  async beginBackup(caller: Caller, begin: BeginBackup): Promise<BackupStream> {
    this.#assertRunning();
    const { pool } = this.#deps.catalog;
    const source = await this.#deps.describeSource(begin.sourceId);
    if (source === undefined || source.hostId !== caller.hostId || source.domainId !== caller.domainId) {
      throw new HoldfastError('NOT_FOUND', 'this host has no such source');
    }
    const streams = this.#streams.get(caller.hostId) ?? new Set();
    this.#streams.set(caller.hostId, streams);
    if (streams.size >= this.#limits.streamsPerHost) {
      throw new HoldfastError('LIMIT_EXCEEDED', `this host has ${streams.size} backup streams open`);
    }
    await this.#room.enter(caller.domainId);
    const { sessionLeaseMs: leaseMs, sessionsPerHost: hostSessionsMax } = this.#limits;
    const session =
      begin.sessionId === ''
        ? await beginSession(pool, caller, begin, {
            id: randomUUID(),
            leaseMs,
            hostSessionsMax,
            carried: carriedBy(streams),
          })
        : await resumeSession(pool, caller, begin, leaseMs);
    const latest = await latestSnapshot(pool, begin.sourceId);
    const baseDamaged = await this.#isDamaged(caller.domainId, begin.baseSnapshotId);
    const windowBytes = this.#limits.windowBytes;
    const began = { sessionId: session.id, latest, baseDamaged, leaseMs, windowBytes };
    // Again: other streams may have come while this one asked the catalog.
    this.#assertRunning();
    if (streams.size >= this.#limits.streamsPerHost) {
      throw new HoldfastError('LIMIT_EXCEEDED', `this host has ${streams.size} backup streams open`);
    }
    const stream: IngestStream = new IngestStream(began, session, {
      ...this.#ingestDeps(caller, session),
      closed: () => streams.delete(stream),
    });
    streams.add(stream);
    return stream;
  }

  async beginLog(caller: Caller, sourceId: string): Promise<LogStoreStream> {
    this.#assertRunning();
    const { pool } = this.#deps.catalog;
    const source = await this.#deps.describeSource(sourceId);
    if (source === undefined || source.hostId !== caller.hostId || source.domainId !== caller.domainId) {
      throw new HoldfastError('NOT_FOUND', 'this host has no such source');
    }
    const others = [...this.#logs].filter(([id, { hostId }]) => hostId === caller.hostId && id !== sourceId);
    if (others.length >= this.#limits.logsPerHost) {
      throw new HoldfastError('LIMIT_EXCEEDED', `this host stores ${others.length} logs`);
    }
    await this.#room.enter(caller.domainId);
    // First the right to store, which ends whoever had it; then what is stored, which nobody else can add to any more.
    const number = await takeLogWriter(pool, sourceId);
    this.#logs.get(sourceId)?.log.close(overtaken());
    const runs = await loadRuns(pool, sourceId);
    const baseNeeded = await isBaseNeeded(pool, sourceId);
    this.#assertRunning();
    this.#logs.get(sourceId)?.log.close(overtaken());
    const owner = { ...caller, sourceId };
    const began = { ends: headsOf(runs), windowBytes: this.#limits.windowBytes, baseNeeded };
    const log: LogStoreStream = new LogStore(began, {
      budget: this.#budget,
      limits: this.#limits,
      clock: this.#deps.clock,
      admit: (bytes) => {
        this.#touch(caller.domainId);
        this.#room.admit(caller.domainId, bytes);
      },
      append: (items) =>
        appendToLog(owner, number, items, {
          writer: this.#writerOf(caller.domainId),
          systemKeys: this.#deps.systemKeys,
        }),
      closed: () => {
        if (this.#logs.get(sourceId)?.log === log) this.#logs.delete(sourceId);
      },
    });
    this.#logs.set(sourceId, { hostId: caller.hostId, log });
    return log;
  }

  async grant(to: Caller, snapshotId: Uint8Array, ttlMs = this.#limits.grantTtlMs): Promise<Buffer> {
    const id = Buffer.from(snapshotId);
    const { rows } = await this.#deps.catalog.pool.query('select 1 from snapshot where domain_id = $1 and id = $2', [
      to.domainId,
      id,
    ]);
    if (rows.length === 0) throw new HoldfastError('NOT_FOUND', 'there is no such snapshot');
    return makeGrant(this.#deps.grantKey, to, id, this.#deps.clock.wallMs() + ttlMs, this.#random(16));
  }

  async grantOwn(
    caller: Caller,
    sourceId: string,
    snapshotId: Uint8Array,
  ): Promise<{ grant: Buffer; snapshotId: Buffer }> {
    const wanted = snapshotId.length === 0 ? null : Buffer.from(snapshotId);
    const source = await this.#deps.describeSource(sourceId);
    const own = source?.hostId === caller.hostId && source.domainId === caller.domainId;
    const { rows } = await this.#deps.catalog.pool.query<{ id: Buffer }>(
      `select id from snapshot where domain_id = $1 and source_id = $2 and ($3::bytea is null or id = $3)
       order by sequence desc limit 1`,
      [caller.domainId, sourceId, wanted],
    );
    const found = rows[0];
    if (!own || found === undefined) throw new HoldfastError('NOT_FOUND', 'this host has no such snapshot');
    return { grant: await this.grant(caller, found.id), snapshotId: found.id };
  }

  openRead(caller: Caller, grant: Uint8Array): Promise<ReadStream> {
    const open = checkGrant(this.#deps.grantKey, caller, grant, this.#deps.clock.wallMs());
    const { domainId } = caller;
    const { pool } = this.#deps.catalog;
    const stream = new GrantedReadStream(open, {
      grantKey: this.#deps.grantKey,
      readAheadBytes: this.#limits.readAheadBytes,
      locate: (ids) => locateObjects(pool, domainId, ids),
      readRange: (range) => readRange(this.#storage, domainId, range),
      referencesOf: (id) => this.#referencesOf(domainId, id),
      remember: (id, references) => this.#references.set(domainId + id.toString('hex'), references),
      damaged: (object) => this.#foundDamaged(domainId, object, open.recordId),
    });
    return Promise.resolve(stream);
  }

  grantLog(to: Caller, sourceId: string, bounds: readonly LogBound[], ttlMs = this.#limits.grantTtlMs): Buffer {
    const expiresAtMs = this.#deps.clock.wallMs() + ttlMs;
    return makeLogGrant(this.#deps.grantKey, to, { sourceId, bounds }, expiresAtMs, this.#random(16));
  }

  openLogRead(caller: Caller, grant: Uint8Array): LogReadStream {
    const open = checkLogGrant(this.#deps.grantKey, caller, grant, this.#deps.clock.wallMs());
    const { domainId } = caller;
    const { pool } = this.#deps.catalog;
    return new GrantedLogRead(open, {
      pool,
      locate: (ids) => locateObjects(pool, domainId, ids),
      readRange: (range) => readRange(this.#storage, domainId, range),
      damaged: (object) => this.#foundDamaged(domainId, object, undefined),
    });
  }

  async readObject(domainId: string, id: Uint8Array): Promise<Buffer> {
    const key = Buffer.from(id);
    if (key.length !== ID_BYTES) throw new HoldfastError('INVALID_ARGUMENT', 'an object id has 32 bytes');
    const place = (await locateObjects(this.#deps.catalog.pool, domainId, [key])).get(key.toString('hex'));
    if (place === undefined)
      throw new HoldfastError('NOT_FOUND', `the vault does not have object ${key.toString('hex')}`);
    const [outcome] = await readRange(this.#storage, domainId, [{ id: key, place }]);
    if (outcome!.ok) return outcome!.envelope;
    await this.#foundDamaged(domainId, { id: key, place }, undefined);
    throw new HoldfastError('DAMAGED', `object ${key.toString('hex')}: ${outcome!.message}`);
  }

  verify(scope: VerifyScope, options: VerifyOptions = {}): Promise<VerifyReport> {
    return verifyPacks(scope, options, { pool: this.#deps.catalog.pool, storage: this.#storage });
  }

  state(): VaultState {
    const { space } = this.#room;
    const full = space !== undefined && space.freeBytes < space.reserveBytes;
    const { trouble } = this.#storage;
    return { trouble: trouble || (full ? 'the disk of the vault is full' : ''), answers: trouble === '', space };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#housekeeping?.cancel();
    await this.#working;
    for (const streams of this.#streams.values()) for (const stream of streams) stream.close();
    for (const { log } of this.#logs.values())
      log.close(new HoldfastError('UNREACHABLE', 'the controller is stopping'));
    await Promise.all([...this.#writers.values()].map(({ writer }) => writer.stop()));
    await removeWriter(this.#deps.catalog.pool, this.#writerId);
    await this.#storage.close();
  }

  #ingestDeps(caller: Caller, session: Session): Omit<ConstructorParameters<typeof IngestStream>[2], 'closed'> {
    const { catalog, clock, systemKeys, describeSource } = this.#deps;
    const { domainId } = caller;
    const writer = this.#writerOf(domainId);
    return {
      writer,
      budget: this.#budget,
      limits: this.#limits,
      clock,
      pin: (ids) => pinPresent(catalog.pool, domainId, ids, session.epoch, ObjectKind.chunk),
      renew: () => renewSession(catalog.pool, session, this.#limits.sessionLeaseMs),
      admit: (bytes) => {
        this.#touch(domainId);
        this.#room.admit(domainId, bytes);
      },
      commit: (commit) =>
        commitSnapshot(writer, caller, session, commit, {
          systemKeys,
          describeSource,
          readObject: (domain, id) => this.readObject(domain, id),
        }),
    };
  }

  #writerOf(domainId: string): DomainWriter {
    const known = this.#writers.get(domainId);
    if (known !== undefined) return known.writer;
    const { catalog, log } = this.#deps;
    const writer = new DomainWriter(domainId, {
      catalog,
      pool: catalog.pool,
      storage: this.#storage,
      log,
      randomBytes: (size) => this.#random(size),
      randomUuid: randomUUID,
      packTargetBytes: this.#limits.packTargetBytes,
      writerId: () => this.#writerId,
    });
    this.#writers.set(domainId, { writer, usedAtMs: this.#deps.clock.monotonicMs() });
    return writer;
  }

  #touch(domainId: string): void {
    const entry = this.#writers.get(domainId);
    if (entry !== undefined) entry.usedAtMs = this.#deps.clock.monotonicMs();
  }

  async #referencesOf(domainId: string, id: Buffer): Promise<Buffer> {
    const key = domainId + id.toString('hex');
    const cached = this.#references.get(key);
    if (cached !== undefined) return cached;
    const references = Buffer.from(referencesOf(await this.readObject(domainId, id)));
    this.#references.set(key, references);
    return references;
  }

  async #isDamaged(domainId: string, snapshotId: Uint8Array): Promise<boolean> {
    if (snapshotId.length === 0) return false;
    const { rows } = await this.#deps.catalog.pool.query(
      'select 1 from snapshot where domain_id = $1 and id = $2 and damaged_at is not null',
      [domainId, Buffer.from(snapshotId)],
    );
    return rows.length > 0;
  }

  /** A read that found damage says so to everybody: probes, lists, the next backup. */
  async #foundDamaged(domainId: string, { id, place }: PlacedObject, snapshotId: Buffer | undefined): Promise<void> {
    const { pool } = this.#deps.catalog;
    this.#deps.log('vault.object_damaged', { pack: place.packId, offset: place.offset, object: id.toString('hex') });
    this.#references.delete(domainId + id.toString('hex'));
    await markAbsent(pool, domainId, [{ id, packSequence: place.packSequence, offset: place.offset }]);
    await pool.query('update pack set damaged_at = now() where sequence = $1', [place.packSequence]);
    if (snapshotId !== undefined) await flagSnapshots(pool, [{ domainId, snapshotId }]);
  }

  async #recover(soleWriter: boolean): Promise<void> {
    const { catalog, log } = this.#deps;
    const { pool } = catalog;
    const storage = this.#storage;
    await buryDeadWriters(pool, this.#writerId, soleWriter);
    const lost = await recoverPacks({ pool, storage, writerId: this.#writerId, log });
    for (const [domainId, ids] of lost) {
      if (ids.length === 0) continue;
      await flagSnapshots(pool, await findHurtSnapshots(domainId, { pool, storage }));
    }
  }

  /** Renews the writer's lease, finishes what dead writers left, seals what nobody uses. */
  #keepHouse(): void {
    const delayMs = Math.min(HOUSEKEEPING_MS, this.#limits.writerLeaseMs / 3);
    this.#housekeeping = this.#deps.clock.after(
      delayMs,
      () => {
        this.#working = this.#oneRound()
          .catch((error: unknown) => {
            const { code, message } = toHoldfastError(error);
            this.#deps.log('vault.housekeeping_failed', { code, message });
          })
          .finally(() => {
            if (!this.#stopped) this.#keepHouse();
          });
      },
      { background: true },
    );
  }

  async #oneRound(): Promise<void> {
    const { pool } = this.#deps.catalog;
    if (!(await renewWriter(pool, this.#writerId, this.#limits.writerLeaseMs))) {
      // Somebody took this process for dead: its packs are theirs, and it goes on with new ones under a new id.
      const previous = this.#writerId;
      this.#writerId = randomUUID();
      await registerWriter(pool, this.#writerId, this.#limits.writerLeaseMs);
      this.#deps.log('vault.writer_replaced', { previous, writer: this.#writerId });
    }
    await this.#room.sample();
    // A target that does not answer is left alone: what is to be finished waits for it.
    if (this.#storage.trouble === '') await this.#recover(false);
    await forgetOldSessions(pool);
    const now = this.#deps.clock.monotonicMs();
    for (const { writer, usedAtMs } of this.#writers.values()) {
      if (writer.idle && now - usedAtMs > this.#limits.sealIdleMs) await writer.seal();
    }
  }

  #random(size: number): Buffer {
    return (this.#deps.randomBytes ?? randomBytes)(size);
  }

  #assertRunning(): void {
    if (this.#stopped) throw new HoldfastError('UNREACHABLE', 'the controller is stopping');
  }
}

function carriedBy(streams: ReadonlySet<BackupStream>): string[] {
  return [...streams].map(({ began }) => began.sessionId);
}
