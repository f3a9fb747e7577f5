// The index and the snapshots, rebuilt from packs alone into an empty catalog.
//
// Hazard: a rebuild that brings back what was never committed, or what was deleted. The controller's own records in the
// packs say both: a commit record is cut from its pack when its transaction fails (domain-writer.ts), and a deletion leaves
// a record of its own. A snapshot of which something is missing is brought back flagged.
//
// Footers make it quick: content is not read, only tables. A pack without a good footer is read whole. Where an object
// stands in two packs the later one counts, because objects are stored again when their first copy is damaged.
//
// Tested in rebuild.db.test.ts: the rebuilt tables equal the lost ones.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import {
  decodeControllerRecord,
  type CommitRecord,
  type ControllerRecord,
} from '@holdfast/shared/format/controller-record';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { open } from '@holdfast/shared/format/seal';

import type { Catalog } from '../catalog/catalog.ts';
import { rebuildLogs, type FoundLogRecord } from './log-rebuild.ts';
import { insertObjects, type Queries } from './object-index.ts';
import {
  FOOTER_TAIL_BYTES,
  PACK_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  decodeFooter,
  decodePackHeader,
  decodeRecordHeader,
  footerLength,
  packFileName,
  sha256,
  type PackIdentity,
  type RecordEntry,
} from './pack-format.ts';
import { readPack, scanRecords } from './pack-scan.ts';
import { flagSnapshots, walkReferences } from './reachability.ts';
import { insertSnapshot } from './snapshot-commit.ts';
import type { VaultStorage } from './storage.ts';
import { adoptTarget } from './target-identity.ts';

export interface RebuildDeps {
  readonly catalog: Pick<Catalog, 'pool' | 'transaction'>;
  readonly storage: VaultStorage;
  /** Of the reserved system domain: they open the controller's own records. */
  readonly systemKeys: DomainKeys;
  /** Is told what was committed, before anything is written; by throwing it refuses the rebuild. */
  readonly admit?: (commits: readonly CommitRecord[]) => Promise<void>;
  readonly progress?: (packsDone: number, packsTotal: number) => void;
}

export interface RebuildReport {
  readonly packs: number;
  readonly objects: number;
  readonly snapshots: number;
  /** Hex ids of snapshots of which something is missing. */
  readonly incomplete: readonly string[];
  /** What could not be made out, for people. */
  readonly warnings: readonly string[];
}

interface FoundPack {
  readonly identity: PackIdentity;
  readonly sealed: boolean;
  readonly records: readonly RecordEntry[];
  /** End of the last record. */
  readonly recordBytes: number;
}

interface FoundRecord {
  readonly id: Buffer;
  readonly record: ControllerRecord;
}

/** Throws FAILED_PRECONDITION when the catalog's vault is not empty, or the system domain's keys open nothing. Then nothing was written. */
export async function rebuildCatalog(deps: RebuildDeps): Promise<RebuildReport> {
  const { pool } = deps.catalog;
  const { rows } = await pool.query(
    'select 1 from pack union all select 1 from object union all select 1 from snapshot limit 1',
  );
  if (rows.length > 0)
    throw new HoldfastError('FAILED_PRECONDITION', 'the catalog has a vault already', {
      hint: 'Rebuild into an empty catalog: move what there is of it out of the way.',
    });

  const warnings: string[] = [];
  const names = (await deps.storage.list()).filter((name) => name.endsWith('.pack'));
  const packs = (await findPacks(names, deps, warnings)).toSorted((a, b) => a.identity.sequence - b.identity.sequence);
  const found: FoundRecord[] = [];
  for (const pack of packs) found.push(...(await controllerRecords(pack, deps, warnings)));
  if (found.length === 0) refuseWrongKey(packs);
  const commits = committedSnapshots(found);
  await deps.admit?.(commits.map(({ record }) => record));
  for (const [index, pack] of packs.entries()) {
    await insertPack(pool, pack);
    // One after the other, in order of sequence: a later copy takes the earlier one's place.
    await replaceObjects(deps, pack);
    deps.progress?.(index + 1, packs.length);
  }
  await deps.catalog.transaction(async (client) => {
    await client.query(`select setval('vault_pack_sequence', $1)`, [
      Math.max(1, ...packs.map(({ identity }) => identity.sequence)),
    ]);
    for (const { id, record, previousId } of commits)
      await insertSnapshot(client, record, { commitRecordId: id, previousId });
    await rebuildLogs(client, logRecords(found), warnings);
  });
  await adoptTarget(pool, deps.storage);
  const incomplete = await checkComplete(commits, deps);
  const { rows: counted } = await pool.query<{ count: number }>('select count(*) as count from object');
  return { packs: packs.length, objects: counted[0]!.count, snapshots: commits.length, incomplete, warnings };
}

/** With another key nothing would seem to have been committed, and the rebuilt catalog would be empty. */
function refuseWrongKey(packs: readonly FoundPack[]): void {
  const isRecord = ({ kind }: RecordEntry): boolean => kind === ObjectKind.controllerRecord;
  if (!packs.some(({ records }) => records.some(isRecord))) return;
  throw new HoldfastError('FAILED_PRECONDITION', 'the master key opens none of the controller’s records in the packs', {
    hint: 'Give the master key that the controller had, and an empty catalog: one made with another key does not open either.',
  });
}

async function findPacks(names: readonly string[], deps: RebuildDeps, warnings: string[]): Promise<FoundPack[]> {
  const packs: FoundPack[] = [];
  let highest = 0;
  const nameless: { name: string; bytes: Buffer }[] = [];
  for (const name of names) {
    const head = await deps.storage.read(name, 0, PACK_HEADER_BYTES).catch(() => Buffer.alloc(0));
    const identity = decodePackHeader(head);
    if (identity !== undefined && packFileName(identity) === name) {
      highest = Math.max(highest, identity.sequence);
      packs.push((await packByFooter(identity, deps.storage)) ?? (await packByScan(identity, deps.storage)));
    } else {
      const size = (await deps.storage.size(name)) ?? 0;
      nameless.push({ name, bytes: await deps.storage.read(name, 0, size).catch(() => Buffer.alloc(0)) });
    }
  }
  for (const { name, bytes } of nameless) {
    const identity = identityWithoutHeader(name, bytes, highest + 1);
    if (identity === undefined) {
      warnings.push(`${name} is no pack that can be read`);
      continue;
    }
    highest++;
    warnings.push(`${name} has lost its header; its records were found by their marker`);
    packs.push(await packByScan(identity, deps.storage));
  }
  return packs;
}

async function packByFooter(identity: PackIdentity, storage: VaultStorage): Promise<FoundPack | undefined> {
  try {
    const name = packFileName(identity);
    const size = (await storage.size(name)) ?? 0;
    const tail = await storage.read(name, Math.max(0, size - FOOTER_TAIL_BYTES), FOOTER_TAIL_BYTES);
    const length = footerLength(tail, size);
    if (length === undefined) return undefined;
    const offset = size - length;
    const records = decodeFooter(identity, offset, await storage.read(name, offset, length));
    return records && { identity, sealed: true, records, recordBytes: offset };
  } catch {
    return undefined;
  }
}

async function packByScan(identity: PackIdentity, storage: VaultStorage): Promise<FoundPack> {
  const bytes = (await readPack(storage, identity)) ?? Buffer.alloc(0);
  const { records } = await scanRecords(identity, bytes, bytes.length);
  const last = records.at(-1);
  const recordBytes = last === undefined ? 0 : last.offset + RECORD_HEADER_BYTES + last.lengthBytes;
  return { identity, sealed: false, records, recordBytes };
}

/** Id and domain stand in the name, the marker before the first record; the sequence number is a new one, the highest. */
function identityWithoutHeader(name: string, bytes: Buffer, sequence: number): PackIdentity | undefined {
  const parts = /^([0-9a-f-]{36})\/[0-9a-f]{2}\/([0-9a-f-]{36})\.pack$/.exec(name);
  if (parts === null || bytes.length < PACK_HEADER_BYTES + RECORD_HEADER_BYTES) return undefined;
  const marker = Buffer.from(bytes.subarray(PACK_HEADER_BYTES, PACK_HEADER_BYTES + 16));
  const identity = { id: parts[2]!, domainId: parts[1]!, sequence, marker };
  const first = decodeRecordHeader(
    { ...identity, packClass: 'nodes' },
    PACK_HEADER_BYTES,
    bytes.subarray(PACK_HEADER_BYTES, PACK_HEADER_BYTES + RECORD_HEADER_BYTES),
  );
  if (first === undefined) return undefined;
  const content = first.kind === ObjectKind.chunk || first.kind === ObjectKind.logSegment;
  return { ...identity, packClass: content ? 'content' : 'nodes' };
}

async function insertPack(pool: Queries, { identity, sealed, recordBytes }: FoundPack): Promise<void> {
  // One without a footer is left to recovery, which gives it one.
  await pool.query(
    `insert into pack (sequence, id, domain_id, class, marker, state, acknowledged_bytes, sealed_at)
     values ($1, $2, $3, $4, $5, $6, $7, case when $6 = 'sealed' then now() end)`,
    [
      identity.sequence,
      identity.id,
      identity.domainId,
      identity.packClass,
      identity.marker,
      sealed ? 'sealed' : 'abandoned',
      recordBytes,
    ],
  );
}

async function replaceObjects({ catalog }: RebuildDeps, { identity, records }: FoundPack): Promise<void> {
  await catalog.transaction(async (client) => {
    await client.query('delete from object where domain_id = $1 and id = any($2::bytea[])', [
      identity.domainId,
      records.map((record) => record.id),
    ]);
    const latest = new Map(records.map((record) => [record.id.toString('hex'), record]));
    const rows = [...latest.values()].map(({ id, kind, offset, lengthBytes, proof }) => ({
      id,
      kind,
      proof,
      lengthBytes,
      packSequence: identity.sequence,
      offset: offset + RECORD_HEADER_BYTES,
      epoch: 1,
    }));
    await insertObjects(client, identity.domainId, rows);
  });
}

async function controllerRecords(pack: FoundPack, deps: RebuildDeps, warnings: string[]): Promise<FoundRecord[]> {
  const found: FoundRecord[] = [];
  for (const { id, kind, offset, lengthBytes } of pack.records) {
    if (kind !== ObjectKind.controllerRecord) continue;
    try {
      const envelope = await deps.storage.read(packFileName(pack.identity), offset + RECORD_HEADER_BYTES, lengthBytes);
      if (!sha256(envelope).equals(id)) throw new HoldfastError('DAMAGED', 'its bytes are damaged');
      const { plain } = open(deps.systemKeys, envelope, { id, kind: ObjectKind.controllerRecord });
      const record = decodeControllerRecord(plain);
      if (record.domainId !== pack.identity.domainId) throw new HoldfastError('DAMAGED', 'it speaks of another domain');
      found.push({ id, record });
    } catch (error) {
      warnings.push(
        `controller record ${id.toString('hex')} in pack ${pack.identity.id}: ${toHoldfastError(error).message}`,
      );
    }
  }
  return found;
}

/** By the time they were stored; of one time in the packs' order. */
function logRecords(found: readonly FoundRecord[]): FoundLogRecord[] {
  return found
    .flatMap(({ id, record }) => (record.kind === 'logSegment' ? [{ id, record }] : []))
    .toSorted((a, b) => a.record.storedAtMs - b.record.storedAtMs);
}

interface FoundCommit {
  readonly id: Buffer;
  readonly record: CommitRecord;
  readonly previousId: Buffer | undefined;
}

/** Commits that no deletion took back; of two with one number of a source, the later counts. Sorted by sequence. */
function committedSnapshots(found: readonly FoundRecord[]): FoundCommit[] {
  const deleted = new Set<string>();
  const commits = new Map<string, { id: Buffer; record: CommitRecord }>();
  for (const { id, record } of found) {
    if (record.kind === 'delete') deleted.add(Buffer.from(record.snapshotId).toString('hex'));
    if (record.kind !== 'commit') continue;
    const slot = `${record.sourceId} ${record.sequence}`;
    const other = commits.get(slot);
    if (other === undefined || other.record.committedAtMs < record.committedAtMs) commits.set(slot, { id, record });
  }
  const latest = new Map<string, Buffer>();
  const linked: FoundCommit[] = [];
  for (const { id, record } of [...commits.values()].toSorted((a, b) => a.record.sequence - b.record.sequence)) {
    const snapshotId = Buffer.from(record.snapshotId);
    // A deleted snapshot is still the one before its successor.
    const commit = { id, record, previousId: latest.get(record.sourceId) };
    latest.set(record.sourceId, snapshotId);
    if (!deleted.has(snapshotId.toString('hex'))) linked.push(commit);
  }
  return linked;
}

async function checkComplete(commits: readonly { record: CommitRecord }[], deps: RebuildDeps): Promise<string[]> {
  const { pool } = deps.catalog;
  const incomplete: string[] = [];
  for (const { record } of commits) {
    const snapshotId = Buffer.from(record.snapshotId);
    const reached = await walkReferences(record.domainId, snapshotId, { pool, storage: deps.storage });
    if (reached.lost.size === 0) continue;
    incomplete.push(snapshotId.toString('hex'));
    await flagSnapshots(pool, [{ domainId: record.domainId, snapshotId }]);
  }
  return incomplete;
}
