// Sources: what is protected on which host. A source's specification is kept as the bytes that its agent gets.
//
// Hazard: removing a source must not remove what was backed up from it. So a removed source keeps its row and its
// snapshots, which are still found under its name; and a source that is added again under that name goes on with them.
//
// Tested in api/controller.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';
import type pg from 'pg';

import { NAMES_SEARCHED } from './hosts.ts';

type Queryable = pg.ClientBase | pg.Pool;

export interface Source {
  readonly id: string;
  readonly hostId: string;
  readonly hostName: string;
  readonly domainId: string;
  readonly name: string;
  /** SourceSpec of the wire. */
  readonly spec: Buffer;
  readonly watching: string;
  readonly watchingNote: string;
  readonly removedAt: Date | null;
  /** LogStatus of the wire, as the agent last said it. */
  readonly logStatus: Buffer | null;
  /** Catalog's clock. */
  readonly logReportedAt: Date | null;
}

const SELECT_SOURCE = `
  select s.id, s.host_id as "hostId", h.name as "hostName", h.domain_id as "domainId", s.name, s.spec, s.watching,
    s.watching_note as "watchingNote", s.removed_at as "removedAt", s.log_status as "logStatus",
    s.log_reported_at as "logReportedAt"
  from source s join host h on h.id = s.host_id`;

export async function listSources(client: Queryable, domainId: string, hostName = ''): Promise<Source[]> {
  const { rows } = await client.query<Source>(
    `${SELECT_SOURCE} where h.domain_id = $1 and ($2 = '' or h.name = $2) and s.removed_at is null order by h.name, s.name`,
    [domainId, hostName],
  );
  return rows;
}

/** Of every domain. */
export async function everySource(client: Queryable): Promise<Source[]> {
  return (await client.query<Source>(`${SELECT_SOURCE} where s.removed_at is null order by h.name, s.name`)).rows;
}

export async function sourcesOfHost(client: Queryable, hostId: string): Promise<Source[]> {
  return (
    await client.query<Source>(`${SELECT_SOURCE} where s.host_id = $1 and s.removed_at is null order by s.name`, [
      hostId,
    ])
  ).rows;
}

/**
 * By its full name, host/source. With `removed` also one that was removed (the last of that name), for what asks about its
 * snapshots. Throws NOT_FOUND, INVALID_ARGUMENT.
 */
export async function findSource(
  client: Queryable,
  domainId: string,
  fullName: string,
  { removed = false }: { readonly removed?: boolean } = {},
): Promise<Source> {
  const slash = fullName.indexOf('/');
  if (slash < 1) {
    throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(fullName)} is not a source`, {
      hint: 'Write it as HOST/SOURCE.',
    });
  }
  const { rows } = await client.query<Source>(
    `${SELECT_SOURCE} where h.domain_id = $1 and h.name = $2 and s.name = $3 and (s.removed_at is null or $4)
     order by s.removed_at desc nulls first limit 1`,
    [domainId, fullName.slice(0, slash), fullName.slice(slash + 1), removed],
  );
  if (rows[0] === undefined) {
    throw new HoldfastError('NOT_FOUND', `there is no source ${fullName}`, {
      hint: (await nearSources(client, domainId, fullName)) || 'See: holdfast source ls',
    });
  }
  return rows[0];
}

async function nearSources(client: Queryable, domainId: string, fullName: string): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    `select h.name || '/' || s.name as name from source s join host h on h.id = s.host_id
     where h.domain_id = $1 and s.removed_at is null limit $2`,
    [domainId, NAMES_SEARCHED],
  );
  return didYouMean(
    nearNames(
      fullName,
      rows.map((row) => row.name),
    ),
  );
}

/** Sources by id, removed ones too: snapshots outlive them. */
export async function sourcesById(client: Queryable, ids: readonly string[]): Promise<Map<string, Source>> {
  const { rows } = await client.query<Source>(`${SELECT_SOURCE} where s.id = any($1)`, [ids]);
  return new Map(rows.map((row) => [row.id, row]));
}

/** The last source of this name that was removed from the host. */
export async function removedSource(client: Queryable, hostId: string, name: string): Promise<string | undefined> {
  const { rows } = await client.query<{ id: string }>(
    `select id from source where host_id = $1 and name = $2 and removed_at is not null
     order by removed_at desc limit 1`,
    [hostId, name],
  );
  return rows[0]?.id;
}

/** A new source, or the removed one of this id back with another specification. Throws ALREADY_EXISTS. */
export async function insertSource(
  client: pg.ClientBase,
  source: { id: string; hostId: string; name: string; spec: Buffer },
): Promise<void> {
  const { rowCount: back } = await client.query(
    `update source set spec = $4, removed_at = null where id = $1 and host_id = $2 and name = $3
       and removed_at is not null
       and not exists (select from source where host_id = $2 and name = $3 and removed_at is null)`,
    [source.id, source.hostId, source.name, source.spec],
  );
  if (back === 1) return;
  const { rowCount } = await client.query(
    `insert into source (id, host_id, name, spec) values ($1, $2, $3, $4)
     on conflict do nothing`,
    [source.id, source.hostId, source.name, source.spec],
  );
  if (rowCount === 0) {
    throw new HoldfastError('ALREADY_EXISTS', `the host has a source ${source.name} already`, {
      hint: 'Choose another name; `holdfast source ls` shows what is protected.',
    });
  }
}

/** Holds the source's row until the transaction ends; its specification as it is now. Throws NOT_FOUND. */
export async function lockSource(client: pg.ClientBase, id: string): Promise<Buffer> {
  const { rows } = await client.query<{ spec: Buffer }>(
    'select spec from source where id = $1 and removed_at is null for update',
    [id],
  );
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', 'the source was removed meanwhile');
  return rows[0].spec;
}

/** Another specification for a source that keeps its id, and with it its snapshots. */
export async function respecifySource(client: pg.ClientBase, id: string, spec: Buffer): Promise<void> {
  await client.query('update source set spec = $2 where id = $1', [id, spec]);
}

export async function removeSource(client: pg.ClientBase, id: string): Promise<void> {
  await client.query('update source set removed_at = now() where id = $1 and removed_at is null', [id]);
}

/** What an agent says about one of its own sources; another host's is not touched. */
export async function reportWatching(
  client: Queryable,
  report: { hostId: string; sourceId: string; watching: string; note: string; logStatus: Uint8Array | undefined },
): Promise<void> {
  await client.query(
    `update source set watching = $3, watching_note = $4, log_status = $5,
       log_reported_at = case when $5::bytea is null then null else now() end
     where id = $1 and host_id = $2`,
    [
      report.sourceId,
      report.hostId,
      report.watching.slice(0, 40),
      report.note.slice(0, 1000),
      report.logStatus === undefined ? null : Buffer.from(report.logStatus),
    ],
  );
}
