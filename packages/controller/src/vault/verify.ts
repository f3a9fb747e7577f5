// Scrub: every byte of packs is read and checked, and what is wrong is named: place, objects, snapshots, files.
//
// Hazard: a check that passes because it looked at too little. So a pack's every byte is covered (header, record headers,
// envelopes, footer), and besides, each object that the index places in it must stand there.
//
// What is found lost is marked absent, so that the next backup stores it again; what was thought lost and reads well now is
// no longer absent (a target that was away for a while).
//
// Tested in damage.db.test.ts: every byte of a pack flipped, every length cut.

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Damage, DescribeFiles, VerifyReport } from './contract.ts';
import { damagedLogPieces, packsOfLogs } from './log-verify.ts';
import { markAbsent, type Queries } from './object-index.ts';
import { decodePackHeader, PACK_HEADER_BYTES, RECORD_HEADER_BYTES, type RecordEntry } from './pack-format.ts';
import { loadPacks, lostObjects, type PackRow } from './pack-recovery.ts';
import { findFooter, readPack, scanRecords, type DamagedPlace } from './pack-scan.ts';
import { findHurtSnapshots, flagSnapshots, walkReferences, type GraphDeps, type HurtSnapshot } from './reachability.ts';

export interface VerifyScope {
  readonly domainId?: string;
  /** Only the packs that these need, each read once. Needs `domainId`. */
  readonly snapshotIds?: readonly Uint8Array[];
  /** Beside the snapshots, the logs of these sources. */
  readonly logSources?: readonly string[];
}

export interface VerifyOptions {
  readonly describeFiles?: DescribeFiles;
  readonly progress?: (bytesDone: number, bytesTotal: number) => void;
  readonly signal?: AbortSignal;
}

interface Totals {
  packsChecked: number;
  objectsChecked: number;
  bytesChecked: number;
  readonly damages: Damage[];
}

/** See Vault.verify. Throws NOT_FOUND when none of the snapshots is known, CANCELLED. */
export async function verifyPacks(scope: VerifyScope, options: VerifyOptions, deps: GraphDeps): Promise<VerifyReport> {
  const sequences = await packsInScope(scope, deps);
  const totals: Totals = { packsChecked: 0, objectsChecked: 0, bytesChecked: 0, damages: [] };
  const bytesTotal = sequences.reduce((sum, pack) => sum + pack.acknowledgedBytes, 0);
  let bytesDone = 0;
  for (const { sequence, acknowledgedBytes } of sequences) {
    if (options.signal?.aborted === true) throw new HoldfastError('CANCELLED', 'the verification was cancelled');
    await verifyPack(sequence, totals, deps);
    bytesDone += acknowledgedBytes;
    options.progress?.(bytesDone, bytesTotal);
  }
  const hurt = await hurtInScope(scope, deps);
  await flagSnapshots(deps.pool, hurt);
  await unflagWhole(scope, hurt, deps.pool);
  const { packsChecked, objectsChecked, bytesChecked, damages } = totals;
  const snapshots: VerifyReport['snapshots'][number][] = [];
  // One after the other: each search may go through a whole manifest, and learns from the one before.
  for (const snapshot of hurt) snapshots.push(await describe(snapshot, options.describeFiles));
  const logPieces = await damagedLogPieces(deps.pool, scope);
  return { packsChecked, objectsChecked, bytesChecked, damages, snapshots, logPieces };
}

async function packsInScope(
  scope: VerifyScope,
  deps: GraphDeps,
): Promise<{ sequence: number; acknowledgedBytes: number }[]> {
  const rows = await loadPacks(deps.pool, '($1::uuid is null or domain_id = $1) and acknowledged_bytes > 0', [
    scope.domainId ?? null,
  ]);
  const all = rows.map(({ identity, acknowledgedBytes }) => ({ sequence: identity.sequence, acknowledgedBytes }));
  if (scope.snapshotIds === undefined) return all;

  const { domainId } = scope;
  const { rows: found } = await deps.pool.query<{ id: Buffer }>(
    `select id from snapshot where domain_id = $1 and id = any($2::bytea[])`,
    [domainId, scope.snapshotIds.map((id) => Buffer.from(id))],
  );
  if (domainId === undefined || found.length === 0) throw new HoldfastError('NOT_FOUND', 'there is no such snapshot');
  const needed = new Set<number>();
  for (const { id } of found) {
    const { places } = await walkReferences(domainId, id, deps);
    for (const place of places.values()) needed.add(place.packSequence);
  }
  for (const sequence of await packsOfLogs(deps.pool, scope.logSources ?? [])) needed.add(sequence);
  return all.filter(({ sequence }) => needed.has(sequence));
}

async function verifyPack(sequence: number, totals: Totals, deps: GraphDeps): Promise<void> {
  for (;;) {
    const pack = (await loadPacks(deps.pool, 'sequence = $1', [sequence]))[0];
    if (pack === undefined) return;
    const checked = await checkPack(pack, deps);
    // A pack may be sealed, or replaced by its recovered copy, while it is read: then what was read says nothing.
    const after = (await loadPacks(deps.pool, 'sequence = $1', [sequence]))[0];
    if (after?.state !== pack.state) continue;

    totals.packsChecked++;
    totals.objectsChecked += checked.records.length;
    totals.bytesChecked += pack.acknowledgedBytes;
    await record(pack, checked, totals, deps);
    return;
  }
}

interface CheckedPack {
  readonly records: readonly RecordEntry[];
  readonly damages: readonly DamagedPlace[];
}

async function checkPack(
  { identity, state, acknowledgedBytes }: PackRow,
  { storage }: GraphDeps,
): Promise<CheckedPack> {
  const bytes = await readPack(storage, identity);
  if (bytes === undefined) {
    return { records: [], damages: [{ offset: 0, lengthBytes: acknowledgedBytes, what: 'the file is missing' }] };
  }
  const damages: DamagedPlace[] = [];
  if (!headerIs(identity, bytes))
    damages.push({ offset: 0, lengthBytes: PACK_HEADER_BYTES, what: "the pack's header is damaged" });
  const scanned = await scanRecords(identity, bytes, acknowledgedBytes);
  damages.push(...scanned.damages);
  if (
    state === 'sealed' &&
    bytes.length > acknowledgedBytes - 1 &&
    findFooter(identity, bytes)?.offset !== acknowledgedBytes
  ) {
    const lengthBytes = bytes.length - acknowledgedBytes;
    damages.push({ offset: acknowledgedBytes, lengthBytes, what: "the pack's footer is damaged" });
  }
  return { records: scanned.records, damages };
}

function headerIs(identity: PackRow['identity'], bytes: Buffer): boolean {
  try {
    const header = decodePackHeader(bytes);
    return (
      header?.id === identity.id &&
      header.domainId === identity.domainId &&
      header.sequence === identity.sequence &&
      header.packClass === identity.packClass &&
      header.marker.equals(identity.marker)
    );
  } catch {
    return false;
  }
}

async function record(pack: PackRow, checked: CheckedPack, totals: Totals, deps: GraphDeps): Promise<void> {
  const { identity } = pack;
  const lost = await lostObjects(deps.pool, pack, checked.records);
  await markAbsent(deps.pool, identity.domainId, lost);
  await unmarkAbsent(deps.pool, pack, checked.records);
  await deps.pool.query('update pack set damaged_at = case when $2 then now() end where sequence = $1', [
    identity.sequence,
    checked.damages.length > 0,
  ]);
  const unplaced = new Set(lost);
  for (const place of checked.damages) {
    const inside = lost.filter(
      ({ offset }) => offset >= place.offset && offset - RECORD_HEADER_BYTES < place.offset + place.lengthBytes,
    );
    for (const object of inside) unplaced.delete(object);
    totals.damages.push({ packId: identity.id, ...place, objectIds: inside.map(({ id }) => id.toString('hex')) });
  }
  for (const { id, offset } of unplaced) {
    const what = 'the index places an object where no record of it stands';
    totals.damages.push({ packId: identity.id, offset, lengthBytes: 0, what, objectIds: [id.toString('hex')] });
  }
}

async function unmarkAbsent(pool: Queries, { identity }: PackRow, records: readonly RecordEntry[]): Promise<void> {
  const { rows } = await pool.query<{ id: Buffer; pack_offset: number }>(
    'select id, pack_offset from object where pack_sequence = $1 and absent_since is not null',
    [identity.sequence],
  );
  const good = new Set(records.map(({ id, offset }) => `${offset + RECORD_HEADER_BYTES} ${id.toString('hex')}`));
  const found = rows.filter((row) => good.has(`${row.pack_offset} ${row.id.toString('hex')}`)).map((row) => row.id);
  if (found.length === 0) return;
  await pool.query(
    'update object set absent_since = null where domain_id = $1 and pack_sequence = $2 and id = any($3::bytea[])',
    [identity.domainId, identity.sequence, found],
  );
}

/** Damage of one snapshot's packs may hurt any snapshot of its domain, so all of them are looked at when there is any. */
async function hurtInScope(scope: VerifyScope, deps: GraphDeps): Promise<HurtSnapshot[]> {
  const { rows } = await deps.pool.query<{ domain_id: string }>(
    `select distinct domain_id from snapshot s where ($1::text is null or domain_id = $1)
       and (damaged_at is not null or exists (
         select 1 from object o where o.domain_id = s.domain_id::uuid and o.absent_since is not null))`,
    [scope.domainId ?? null],
  );
  const hurt: HurtSnapshot[] = [];
  for (const { domain_id } of rows) hurt.push(...(await findHurtSnapshots(domain_id, deps)));
  return hurt;
}

/** Snapshots that were flagged and of which every byte has just read well. */
async function unflagWhole(scope: VerifyScope, hurt: readonly HurtSnapshot[], pool: Queries): Promise<void> {
  await pool.query(
    `update snapshot set damaged_at = null
     where damaged_at is not null and ($1::text is null or domain_id = $1) and ($2::bytea[] is null or id = any($2))
       and not (id = any($3::bytea[]))`,
    [
      scope.domainId ?? null,
      scope.snapshotIds?.map((id) => Buffer.from(id)) ?? null,
      hurt.map((snapshot) => snapshot.snapshotId),
    ],
  );
}

async function describe(
  { domainId, snapshotId, sourceId, sequence, lost }: HurtSnapshot,
  describeFiles: DescribeFiles | undefined,
): Promise<VerifyReport['snapshots'][number]> {
  const files = await describeFiles?.({ domainId, snapshotId, objectIds: lost });
  return { snapshotId: snapshotId.toString('hex'), sourceId, sequence, objectIds: lost, files };
}
