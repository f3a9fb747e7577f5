// Packs that their writer left without a footer: after a crash, a failed sync, a lost lease.
//
// Hazards: the writer that is thought dead may still be writing (so its file is never touched: the good bytes are copied to
// a new file, which then takes the name); a crash in the middle of this (the copy takes the name by one rename, and a
// left-over copy is thrown away); a fault while recovering (the pack stays as it was, readable, and the next start tries
// again). A torn tail beyond the acknowledged length is left behind; damage below it is corruption: reported, and what
// stood there is absent from now on, so that the next backup stores it again.
//
// Tested in recovery.db.test.ts, with every call failing and power lost at every point.

import { toHoldfastError } from '@holdfast/shared/base/errors';

import { markAbsent, type Queries } from './object-index.ts';
import {
  PACK_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  encodeFooter,
  encodePackHeader,
  packFileName,
  type PackClass,
  type PackIdentity,
  type RecordEntry,
} from './pack-format.ts';
import { findFooter, readPack, scanRecords, type DamagedPlace } from './pack-scan.ts';
import type { AppendFile, VaultStorage } from './storage.ts';

export interface RecoveryDeps {
  readonly pool: Queries;
  readonly storage: VaultStorage;
  readonly writerId: string;
  readonly log: (event: string, fields: Record<string, string | number>) => void;
}

/** Objects that recovery found lost, by domain. */
export type LostObjects = Map<string, Buffer[]>;

export interface PackRow {
  readonly identity: PackIdentity;
  readonly state: 'open' | 'abandoned' | 'sealed';
  readonly acknowledgedBytes: number;
}

/** Finishes every abandoned pack that no other controller is finishing. Faults of the target are logged, not thrown. */
export async function recoverPacks(deps: RecoveryDeps): Promise<LostObjects> {
  const lost: LostObjects = new Map();
  const { rows } = await deps.pool.query<{ sequence: number }>(
    `select sequence from pack where state = 'abandoned' order by sequence`,
  );
  for (const { sequence } of rows) {
    const pack = await claimPack(deps, sequence);
    if (pack === undefined) continue;
    try {
      const ids = await recoverPack(pack, deps);
      lost.set(pack.identity.domainId, [...(lost.get(pack.identity.domainId) ?? []), ...ids]);
    } catch (error) {
      const { code, message } = toHoldfastError(error);
      deps.log('vault.recovery_failed', { pack: pack.identity.id, code, message });
      await deps.pool
        .query(`update pack set writer_id = null where sequence = $1 and writer_id = $2`, [sequence, deps.writerId])
        .catch(() => undefined);
    }
  }
  return lost;
}

/** Rows of packs as values. */
export async function loadPacks(queries: Queries, where: string, values: readonly unknown[]): Promise<PackRow[]> {
  const { rows } = await queries.query<StoredPack>(`select * from pack where ${where} order by sequence`, [...values]);
  return rows.map(packOf);
}

interface StoredPack {
  readonly sequence: number;
  readonly id: string;
  readonly domain_id: string;
  readonly class: PackClass;
  readonly marker: Buffer;
  readonly state: PackRow['state'];
  readonly acknowledged_bytes: number;
}

function packOf(row: StoredPack): PackRow {
  const { id, sequence, marker } = row;
  const identity = { id, domainId: row.domain_id, sequence, packClass: row.class, marker };
  return { identity, state: row.state, acknowledgedBytes: row.acknowledged_bytes };
}

async function claimPack(deps: RecoveryDeps, sequence: number): Promise<PackRow | undefined> {
  const { rows } = await deps.pool.query<StoredPack>(
    `update pack set writer_id = $2 where sequence = $1 and state = 'abandoned'
       and (writer_id is null or writer_id = $2 or writer_id not in (select id from vault_writer)) returning *`,
    [sequence, deps.writerId],
  );
  return rows[0] === undefined ? undefined : packOf(rows[0]);
}

async function recoverPack(pack: PackRow, deps: RecoveryDeps): Promise<Buffer[]> {
  const { identity, acknowledgedBytes } = pack;
  const name = packFileName(identity);
  if (acknowledgedBytes === 0) {
    if ((await deps.storage.size(name)) !== undefined) await deps.storage.remove(name);
    await deps.pool.query('delete from pack where sequence = $1 and acknowledged_bytes = 0', [identity.sequence]);
    return [];
  }
  const bytes = await readPack(deps.storage, identity);
  if (bytes === undefined)
    return finish(pack, [], [{ offset: 0, lengthBytes: acknowledgedBytes, what: 'the file is missing' }], deps);

  const { records, damages } = await scanRecords(identity, bytes, acknowledgedBytes);
  const footer = findFooter(identity, bytes);
  const whole = footer?.offset === acknowledgedBytes && damages.length === 0;
  if (!whole) await replaceBySealedCopy(pack, bytes, records, deps);
  return finish(pack, records, damages, deps);
}

async function replaceBySealedCopy(
  pack: PackRow,
  bytes: Buffer,
  records: readonly RecordEntry[],
  { storage }: RecoveryDeps,
): Promise<void> {
  const { identity, acknowledgedBytes } = pack;
  const name = packFileName(identity);
  const copy = `${name}.copy`;
  if ((await storage.size(copy)) !== undefined) await storage.remove(copy);
  // What is missing stays missing, as zeros: the places of all that follows must not move.
  const body = Buffer.alloc(acknowledgedBytes - PACK_HEADER_BYTES);
  bytes.copy(body, 0, PACK_HEADER_BYTES, Math.min(bytes.length, acknowledgedBytes));
  let file: AppendFile | undefined;
  try {
    file = await storage.create(copy);
    await file.append([encodePackHeader(identity), body, encodeFooter(identity, acknowledgedBytes, records)], 0);
    await file.sync();
    await file.close();
    await storage.rename(copy, name);
    await storage.syncDirectoryOf(name);
  } catch (error) {
    await file?.close().catch(() => undefined);
    throw error;
  }
}

/** Notes what is lost, then that the pack is finished. */
async function finish(
  pack: PackRow,
  records: readonly RecordEntry[],
  damages: readonly DamagedPlace[],
  deps: RecoveryDeps,
): Promise<Buffer[]> {
  const { identity } = pack;
  const lost = damages.length === 0 ? [] : await lostObjects(deps.pool, pack, records);
  for (const { offset, lengthBytes, what } of damages) {
    deps.log('vault.pack_damaged', { pack: identity.id, offset, lengthBytes, what });
  }
  await markAbsent(deps.pool, identity.domainId, lost);
  await deps.pool.query(
    `update pack set state = 'sealed', sealed_at = now(), writer_id = null, damaged_at = case when $3 then now() end
     where sequence = $1 and writer_id = $2 and state = 'abandoned'`,
    [identity.sequence, deps.writerId, damages.length > 0],
  );
  return lost.map(({ id }) => id);
}

/**
 * Objects that the index places in a pack where no good record of them stands, as far as the pack was looked at: one that is open
 * grows meanwhile, and what came since is not lost.
 */
export async function lostObjects(
  queries: Queries,
  { identity: pack, acknowledgedBytes }: PackRow,
  good: readonly RecordEntry[],
): Promise<{ id: Buffer; packSequence: number; offset: number }[]> {
  const standing = new Set(good.map((record) => `${record.offset} ${record.id.toString('hex')}`));
  const { rows } = await queries.query<{ id: Buffer; pack_offset: number }>(
    'select id, pack_offset from object where pack_sequence = $1 and pack_offset < $2 order by pack_offset',
    [pack.sequence, acknowledgedBytes],
  );
  return rows
    .filter((row) => !standing.has(`${row.pack_offset - RECORD_HEADER_BYTES} ${row.id.toString('hex')}`))
    .map((row) => ({ id: row.id, packSequence: pack.sequence, offset: row.pack_offset }));
}
