// One pack that this process appends to.
//
// Hazard: what was written is not what is durable, and what is durable is not what the catalog knows. Three lengths are
// kept apart: written ≥ synced ≥ acknowledged. After any failed write or sync the pack takes nothing more: a sync that
// failed once may have dropped the pages that a second one would report as clean (threat 6).
//
// The catalog's row for a pack is made before its file, and says which writer may append; losing the row to another
// controller makes the next acknowledgement fail. Group commit is in domain-writer.ts.
//
// Tested in pack-faults.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { NewObject, Queries } from './object-index.ts';
import {
  PACK_HEADER_BYTES,
  PACK_TARGET_BYTES,
  RECORD_HEADER_BYTES,
  encodeFooter,
  encodePackHeader,
  encodeRecordHeader,
  packFileName,
  type PackClass,
  type PackIdentity,
  type RecordEntry,
} from './pack-format.ts';
import type { AppendFile, VaultStorage } from './storage.ts';

export interface PackDeps {
  readonly pool: Queries;
  readonly storage: VaultStorage;
  readonly randomBytes: (size: number) => Buffer;
  readonly randomUuid: () => string;
  readonly packTargetBytes: number;
}

/** What goes into a record. */
export interface StorableObject {
  readonly id: Buffer;
  readonly kind: number;
  readonly proof: Buffer;
  readonly envelope: Buffer;
}

export const DEFAULT_PACK_TARGET_BYTES = PACK_TARGET_BYTES;

export class OpenPack {
  readonly identity: PackIdentity;
  readonly #file: AppendFile;
  readonly #deps: PackDeps;
  readonly #writerId: string;
  readonly #records: RecordEntry[] = [];
  #writtenBytes = PACK_HEADER_BYTES;
  #syncedBytes = 0;
  #acknowledgedBytes = 0;
  #failed = false;

  private constructor(identity: PackIdentity, file: AppendFile, writerId: string, deps: PackDeps) {
    this.identity = identity;
    this.#file = file;
    this.#writerId = writerId;
    this.#deps = deps;
  }

  /** Makes the catalog's row, then the file with its header. The name is synced, the header with the first sync. */
  static async create(domainId: string, packClass: PackClass, writerId: string, deps: PackDeps): Promise<OpenPack> {
    const id = deps.randomUuid();
    const marker = deps.randomBytes(16);
    const { rows } = await deps.pool.query<{ sequence: number }>(
      `insert into pack (sequence, id, domain_id, class, marker, state, writer_id)
       values (nextval('vault_pack_sequence'), $1, $2, $3, $4, 'open', $5) returning sequence`,
      [id, domainId, packClass, marker, writerId],
    );
    const identity = { id, domainId, sequence: rows[0]!.sequence, packClass, marker };
    let file: AppendFile | undefined;
    try {
      file = await deps.storage.create(packFileName(identity));
      await file.append([encodePackHeader(identity)], 0);
      await deps.storage.syncDirectoryOf(packFileName(identity));
      return new OpenPack(identity, file, writerId, deps);
    } catch (error) {
      await file?.close().catch(() => undefined);
      // Left to recovery, which removes packs that nothing was acknowledged in.
      await releasePack(deps.pool, identity.sequence, writerId);
      throw error;
    }
  }

  get acknowledgedBytes(): number {
    return this.#acknowledgedBytes;
  }

  get isAcknowledged(): boolean {
    return this.#acknowledgedBytes === this.#writtenBytes;
  }

  get hasFailed(): boolean {
    return this.#failed;
  }

  /** Whether an object of this length, after `pendingBytes` of records, belongs into the next pack. One that is larger than a pack gets a pack of its own. */
  isFullFor(lengthBytes: number, pendingBytes = 0): boolean {
    const end = this.#writtenBytes + pendingBytes + RECORD_HEADER_BYTES + lengthBytes;
    return (this.#records.length > 0 || pendingBytes > 0) && end > this.#deps.packTargetBytes;
  }

  /** Appends records, unsynced. Returns their rows. */
  async append(objects: readonly (StorableObject & { readonly epoch: number })[]): Promise<NewObject[]> {
    const parts: Uint8Array[] = [];
    const rows: NewObject[] = [];
    const entries: RecordEntry[] = [];
    let offset = this.#writtenBytes;
    for (const { id, kind, proof, envelope, epoch } of objects) {
      const lengthBytes = envelope.length;
      parts.push(encodeRecordHeader(this.identity, offset, { lengthBytes, kind, id }), envelope);
      entries.push({ offset, lengthBytes, kind, id, proof });
      const packSequence = this.identity.sequence;
      rows.push({ id, kind, packSequence, offset: offset + RECORD_HEADER_BYTES, lengthBytes, proof, epoch });
      offset += RECORD_HEADER_BYTES + lengthBytes;
    }
    await this.#attempt(() => this.#file.append(parts, this.#writtenBytes));
    this.#writtenBytes = offset;
    for (const entry of entries) this.#records.push(entry);
    return rows;
  }

  /** Makes what was written durable. */
  async sync(): Promise<void> {
    await this.#attempt(() => this.#file.sync());
    this.#syncedBytes = this.#writtenBytes;
  }

  /** In the transaction that indexes what was synced. Throws STORAGE_FAILED when another controller has taken the pack. */
  async acknowledgeIn(client: Queries): Promise<void> {
    const { rowCount } = await client.query({
      name: 'vault-acknowledge',
      text: `update pack set acknowledged_bytes = $2 where sequence = $1 and writer_id = $3 and state = 'open'`,
      values: [this.identity.sequence, this.#syncedBytes, this.#writerId],
    });
    if (rowCount !== 1) {
      this.#failed = true;
      throw new HoldfastError('STORAGE_FAILED', 'another controller has taken over a pack of this one');
    }
  }

  /** After that transaction has committed. */
  acknowledged(): void {
    this.#acknowledgedBytes = this.#syncedBytes;
  }

  /** Takes back what no transaction has acknowledged, so that the pack may go on. False when it may not. */
  async rewind(): Promise<boolean> {
    if (this.#failed || this.#acknowledgedBytes === 0) return false;
    try {
      await this.#attempt(() => this.#file.truncate(this.#acknowledgedBytes));
    } catch {
      return false;
    }
    this.#writtenBytes = this.#acknowledgedBytes;
    this.#syncedBytes = this.#acknowledgedBytes;
    while ((this.#records.at(-1)?.offset ?? 0) >= this.#acknowledgedBytes) this.#records.pop();
    return true;
  }

  /** Writes the footer. A pack that cannot be sealed is left to recovery: its records are safe. */
  async seal(): Promise<void> {
    try {
      if (this.#failed || this.#acknowledgedBytes !== this.#writtenBytes) return await this.abandon();
      await this.#attempt(async () => {
        await this.#file.append([encodeFooter(this.identity, this.#writtenBytes, this.#records)], this.#writtenBytes);
        await this.#file.sync();
      });
      await this.#file.close();
      await this.#deps.pool.query(
        `update pack set state = 'sealed', sealed_at = now(), writer_id = null
         where sequence = $1 and writer_id = $2 and state = 'open'`,
        [this.identity.sequence, this.#writerId],
      );
    } catch {
      await this.abandon();
    }
  }

  /** Lets go of the pack at its acknowledged length. Never throws: recovery finds it by its writer, too. */
  async abandon(): Promise<void> {
    this.#failed = true;
    await this.#file.close().catch(() => undefined);
    await releasePack(this.#deps.pool, this.identity.sequence, this.#writerId);
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    if (this.#failed) throw new HoldfastError('STORAGE_FAILED', 'the pack was given up after a failed write');
    try {
      await work();
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }
}

async function releasePack(pool: Queries, sequence: number, writerId: string): Promise<void> {
  await pool
    .query(
      `update pack set state = 'abandoned', writer_id = null where sequence = $1 and writer_id = $2 and state = 'open'`,
      [sequence, writerId],
    )
    .catch(() => undefined);
}
