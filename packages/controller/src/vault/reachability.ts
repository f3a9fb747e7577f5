// What a snapshot needs: the graph of references, walked from its record. References stand in the clear, so no key is needed.
//
// Hazard: a damaged node hides what stands below it. It is reported as lost itself, so its snapshots are never taken for
// whole.
//
// Memory: the places of one snapshot's objects, and for each node of the domain whether something lost is below it.
// Tested in damage.db.test.ts.

import { ID_BYTES, ObjectKind, referencesOf } from '@holdfast/shared/format/envelope';

import { locateObjects, type ObjectPlace, type Queries } from './object-index.ts';
import { planRanges, readRange, type PlacedObject } from './object-reader.ts';
import type { VaultStorage } from './storage.ts';

export interface GraphDeps {
  readonly pool: Queries;
  readonly storage: VaultStorage;
}

export interface ReachedObjects {
  /** Everything reached, by hex id. */
  readonly places: ReadonlyMap<string, ObjectPlace>;
  /** Hex ids of nodes and records, children after parents, with their references. */
  readonly references: ReadonlyMap<string, readonly string[]>;
  /** Hex ids that are not in the index, counted absent, or nodes that could not be read. */
  readonly lost: ReadonlySet<string>;
}

const NODES_A_STEP = 2000;

/** Walks everything that `rootId` reaches, itself included. */
export async function walkReferences(domainId: string, rootId: Buffer, deps: GraphDeps): Promise<ReachedObjects> {
  const places = new Map<string, ObjectPlace>();
  const references = new Map<string, readonly string[]>();
  const lost = new Set<string>();
  let unseen = [rootId.toString('hex')];
  const seen = new Set(unseen);
  while (unseen.length > 0) {
    const step = unseen.slice(0, NODES_A_STEP);
    unseen = unseen.slice(NODES_A_STEP);
    const found = await locateObjects(
      deps.pool,
      domainId,
      step.map((id) => Buffer.from(id, 'hex')),
    );
    const nodes: PlacedObject[] = [];
    for (const id of step) {
      const place = found.get(id);
      if (place !== undefined) places.set(id, place);
      if (place === undefined || place.absent) lost.add(id);
      if (place !== undefined && isParent(place)) nodes.push({ id: Buffer.from(id, 'hex'), place });
    }
    for (const [id, children] of await readReferences(domainId, nodes, deps)) {
      if (children === undefined) lost.add(id);
      references.set(id, children ?? []);
      for (const child of children ?? []) {
        if (seen.has(child)) continue;
        seen.add(child);
        unseen.push(child);
      }
    }
  }
  return { places, references, lost };
}

function isParent(place: ObjectPlace): boolean {
  return place.kind === ObjectKind.manifestNode || place.kind === ObjectKind.snapshotRecord;
}

async function readReferences(
  domainId: string,
  nodes: readonly PlacedObject[],
  deps: GraphDeps,
): Promise<Map<string, readonly string[] | undefined>> {
  const read = new Map<string, readonly string[] | undefined>();
  for (const range of planRanges(nodes)) {
    const outcomes = await readRange(deps.storage, domainId, range);
    range.forEach(({ id }, index) => {
      const outcome = outcomes[index]!;
      read.set(id.toString('hex'), outcome.ok ? splitIds(referencesOf(outcome.envelope)) : undefined);
    });
  }
  return read;
}

function splitIds(joined: Uint8Array): string[] {
  const hex = Buffer.from(joined.buffer, joined.byteOffset, joined.byteLength).toString('hex');
  return Array.from({ length: joined.length / ID_BYTES }, (_, index) => hex.slice(index * 64, (index + 1) * 64));
}

export interface HurtSnapshot {
  readonly domainId: string;
  readonly snapshotId: Buffer;
  readonly sourceId: string;
  readonly sequence: number;
  readonly lost: readonly string[];
}

/** Which committed snapshots of a domain need something that is lost: absent, missing or unreadable. */
export async function findHurtSnapshots(domainId: string, deps: GraphDeps): Promise<HurtSnapshot[]> {
  const { rows } = await deps.pool.query<{ id: Buffer; source_id: string; sequence: number }>(
    'select id, source_id, sequence from snapshot where domain_id = $1 order by committed_at, sequence',
    [domainId],
  );
  const hurt: HurtSnapshot[] = [];
  for (const row of rows) {
    const { lost } = await walkReferences(domainId, row.id, deps);
    if (lost.size === 0) continue;
    hurt.push({
      domainId,
      snapshotId: row.id,
      sourceId: row.source_id,
      sequence: row.sequence,
      lost: [...lost].toSorted(),
    });
  }
  return hurt;
}

/** Flags snapshots as damaged, so that lists show it and the next backup builds on something else. */
export async function flagSnapshots(
  pool: Queries,
  hurt: readonly { readonly domainId: string; readonly snapshotId: Buffer }[],
): Promise<void> {
  for (const { domainId, snapshotId } of hurt) {
    await pool.query('update snapshot set damaged_at = now() where domain_id = $1 and id = $2', [domainId, snapshotId]);
  }
}
