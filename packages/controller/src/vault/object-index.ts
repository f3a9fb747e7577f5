// The index of objects in the catalog: where each stands, whether it is alive, which collection epoch needs it.
//
// Hazard: between "is it there?" and "then I rely on it" a collection can delete the object. So reviving and stamping are one
// statement (I3, I6), and nothing is answered as present that does not carry the session's epoch: collection leaves such
// objects alone until the session has ended.
//
// Two statements stamp the same rows at once when two hosts send the same content; they lock in order of id, so they wait
// for each other and never deadlock.
//
// Tested in ingest.db.test.ts.

import type pg from 'pg';

/** A pool, or a client inside a transaction. */
export type Queries = Pick<pg.Pool, 'query'>;

/** Where an object's envelope is. */
export interface ObjectPlace {
  readonly kind: number;
  readonly packId: string;
  readonly packSequence: number;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly absent: boolean;
}

/** A row to be. */
export interface NewObject {
  readonly id: Buffer;
  readonly kind: number;
  readonly packSequence: number;
  /** Of the envelope. */
  readonly offset: number;
  readonly lengthBytes: number;
  readonly proof: Buffer;
  readonly epoch: number;
}

/** Ids a statement takes at once. Beyond this an array costs more to parse than a round trip saves. */
const BATCH = 500;

// Almost everything that is looked for is missing, or stamped already: that costs a look. `stamped` takes the rest. Each of the
// two is planned anew each time: joined to unnest(), or with a plan kept from when the table was small, 500 ids took
// 220 ms instead of 3 (20,000 rows, PostgreSQL 18).
const LOOK = `
  select id, proof, epoch < $3 or condemned_at is not null as due from object
  where domain_id = $1 and id = any($2::bytea[]) and absent_since is null and ($4::smallint is null or kind = $4)`;

// `held` waits for whoever changes the same rows, `stamped` then changes their newest versions. A row that a collection
// deletes before that is in no answer: it counts as missing.
const STAMP = `
  with held as materialized (
    select id from object where domain_id = $1 and id = any($2::bytea[]) order by id for update
  ), stamped as (
    update object set epoch = greatest(epoch, $3), condemned_at = null
    where domain_id = $1 and id = any(array(select id from held)) and absent_since is null
    returning id, proof
  )
  select id, proof from stamped`;

interface Pinned {
  readonly id: Buffer;
  readonly proof: Buffer;
}

async function pin(
  queries: Queries,
  domainId: string,
  ids: readonly Buffer[],
  epoch: number,
  kind?: number,
): Promise<Pinned[]> {
  const pinned: Pinned[] = [];
  for (let first = 0; first < ids.length; first += BATCH) {
    const values = [domainId, ids.slice(first, first + BATCH), epoch, kind ?? null];
    const { rows: found } = await queries.query<Pinned & { due: boolean }>(LOOK, values);
    const due: Buffer[] = [];
    for (const row of found) {
      if (row.due) due.push(row.id);
      else pinned.push(row);
    }
    if (due.length === 0) continue;
    const { rows: stamped } = await queries.query<Pinned>(STAMP, [domainId, due, epoch]);
    for (const row of stamped) pinned.push(row);
  }
  return pinned;
}

/**
 * Which of `ids` are present; those are stamped with `epoch` and no longer condemned.
 * @param kind only objects of this kind count
 * @returns hex ids
 */
export async function pinPresent(
  queries: Queries,
  domainId: string,
  ids: readonly Buffer[],
  epoch: number,
  kind?: number,
): Promise<Set<string>> {
  const pinned = await pin(queries, domainId, ids, epoch, kind);
  return new Set(pinned.map((row) => row.id.toString('hex')));
}

/** As `pinPresent`, with the proofs: by hex id. */
export async function pinObjects(
  queries: Queries,
  domainId: string,
  ids: readonly Buffer[],
  epoch: number,
): Promise<Map<string, Buffer>> {
  const pinned = await pin(queries, domainId, ids, epoch);
  return new Map(pinned.map((row) => [row.id.toString('hex'), row.proof]));
}

/** A claim on an object, as its id and its proof: whoever knows both may refer to it (I3). */
export function claimKey(id: Buffer, proof: Buffer): string {
  return id.toString('hex') + proof.toString('hex');
}

// A conflict is another process's copy of the same object, which wins, or an absent object, which this heals.
const INSERT = `
  insert into object (domain_id, id, kind, pack_sequence, pack_offset, length_bytes, proof, epoch)
  select $1, * from unnest($2::bytea[], $3::smallint[], $4::bigint[], $5::int[], $6::int[], $7::bytea[], $8::bigint[])
    as added(id, kind, pack_sequence, pack_offset, length_bytes, proof, epoch) order by added.id
  on conflict (domain_id, id) do update set
    pack_sequence = case when object.absent_since is null then object.pack_sequence else excluded.pack_sequence end,
    pack_offset = case when object.absent_since is null then object.pack_offset else excluded.pack_offset end,
    epoch = greatest(object.epoch, excluded.epoch), condemned_at = null, absent_since = null`;

/** Adds rows for objects whose bytes are durable (I2). Ids must be distinct. */
export async function insertObjects(queries: Queries, domainId: string, rows: readonly NewObject[]): Promise<void> {
  for (let first = 0; first < rows.length; first += BATCH) {
    const batch = rows.slice(first, first + BATCH);
    const values = [
      domainId,
      batch.map((row) => row.id),
      batch.map((row) => row.kind),
      batch.map((row) => row.packSequence),
      batch.map((row) => row.offset),
      batch.map((row) => row.lengthBytes),
      batch.map((row) => row.proof),
      batch.map((row) => row.epoch),
    ];
    await queries.query({ name: 'vault-insert', text: INSERT, values });
  }
}

const LOCATE = `
  select o.id, o.kind, o.pack_sequence, o.pack_offset, o.length_bytes, o.absent_since is not null as absent, p.id as pack_id
  from object o join pack p on p.sequence = o.pack_sequence where o.domain_id = $1 and o.id = any($2::bytea[])`;

/** Where each known one of `ids` is; by hex id. */
export async function locateObjects(
  queries: Queries,
  domainId: string,
  ids: readonly Buffer[],
): Promise<Map<string, ObjectPlace>> {
  const places = new Map<string, ObjectPlace>();
  for (let first = 0; first < ids.length; first += BATCH) {
    const { rows } = await queries.query<{
      id: Buffer;
      kind: number;
      pack_sequence: number;
      pack_offset: number;
      length_bytes: number;
      absent: boolean;
      pack_id: string;
    }>(LOCATE, [domainId, ids.slice(first, first + BATCH)]);
    for (const row of rows) {
      places.set(row.id.toString('hex'), {
        kind: row.kind,
        packId: row.pack_id,
        packSequence: row.pack_sequence,
        offset: row.pack_offset,
        lengthBytes: row.length_bytes,
        absent: row.absent,
      });
    }
  }
  return places;
}

/** Notes that objects are lost where the index says they are. One that was stored elsewhere meanwhile stays present. */
export async function markAbsent(
  queries: Queries,
  domainId: string,
  lost: readonly { id: Buffer; packSequence: number; offset: number }[],
): Promise<void> {
  for (let first = 0; first < lost.length; first += BATCH) {
    const batch = lost.slice(first, first + BATCH);
    await queries.query(
      `update object o set absent_since = now()
       from unnest($2::bytea[], $3::bigint[], $4::int[]) as lost(id, pack_sequence, pack_offset)
       where o.domain_id = $1 and o.id = lost.id and o.pack_sequence = lost.pack_sequence
         and o.pack_offset = lost.pack_offset and o.absent_since is null`,
      [domainId, batch.map((row) => row.id), batch.map((row) => row.packSequence), batch.map((row) => row.offset)],
    );
  }
}

/** What a domain has in packs. */
export async function storedBytes(queries: Queries, domainId: string): Promise<number> {
  const { rows } = await queries.query<{ bytes: number }>(
    'select coalesce(sum(acknowledged_bytes), 0)::bigint as bytes from pack where domain_id = $1',
    [domainId],
  );
  return rows[0]?.bytes ?? 0;
}
