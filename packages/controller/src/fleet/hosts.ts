// Hosts and their certificates, as rows.
//
// Hazard: a certificate that outlives its host's standing. So every stream that opens asks `identifyHost`, and a
// revocation is told to every replica in the transaction that makes it.
//
// Invariants (enrolment.db.test.ts, threat 44): a revoked, expired or unknown certificate identifies nobody, and the
// error says which of these it is.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';
import type pg from 'pg';

import { appendAudit } from './audit.ts';
import type { FleetEvents } from './fleet-events.ts';

export interface Host {
  readonly id: string;
  readonly domainId: string;
  readonly domainName: string;
  readonly name: string;
  readonly state: 'waiting' | 'online' | 'offline' | 'revoked';
  readonly lastSeenAt: Date | null;
  readonly enrolledAt: Date | null;
  readonly clonedAt: Date | null;
  readonly agentVersion: string;
  readonly os: string;
  readonly address: string;
}

export interface CertificateRow {
  readonly fingerprint: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly revoked: boolean;
}

type Queryable = pg.ClientBase | pg.Pool;

/** A host that sent nothing for this long is offline, whatever its connection looks like. */
export const OFFLINE_AFTER_MS = 45_000;

const SELECT_HOST = `
  select h.id, h.domain_id as "domainId", d.name as "domainName", h.name, h.last_seen_at as "lastSeenAt",
    h.enrolled_at as "enrolledAt", h.cloned_at as "clonedAt", h.agent_version as "agentVersion", h.os, h.address,
    case when h.state in ('waiting', 'revoked') then h.state
         when h.connection_id <> '' and h.last_seen_at > now() - interval '${OFFLINE_AFTER_MS} ms' then 'online'
         else 'offline' end as state
  from host h join domain d on d.id = h.domain_id`;

export async function listHosts(client: Queryable, domainId: string): Promise<Host[]> {
  return (await client.query<Host>(`${SELECT_HOST} where h.domain_id = $1 order by h.name`, [domainId])).rows;
}

/** Throws NOT_FOUND, with near names of the same domain. */
export async function findHost(client: Queryable, domainId: string, name: string): Promise<Host> {
  const { rows } = await client.query<Host>(`${SELECT_HOST} where h.domain_id = $1 and h.name = $2`, [domainId, name]);
  if (rows[0] === undefined) {
    const names = await client.query<{ name: string }>('select name from host where domain_id = $1 limit $2', [
      domainId,
      NAMES_SEARCHED,
    ]);
    const near = didYouMean(
      nearNames(
        name,
        names.rows.map((row) => row.name),
      ),
    );
    throw new HoldfastError('NOT_FOUND', `there is no host ${name}`, { hint: near || 'See: holdfast host ls' });
  }
  return rows[0];
}

/** For a suggestion: not worth more. */
export const NAMES_SEARCHED = 5_000;

/** host:port where its agent answers peers, as it said last. */
export async function peerAddressesOf(client: Queryable, hostId: string): Promise<readonly string[]> {
  const { rows } = await client.query<{ addresses: string[] }>(
    'select peer_addresses as addresses from host where id = $1',
    [hostId],
  );
  return rows[0]?.addresses ?? [];
}

export async function listCertificates(client: Queryable, hostId: string): Promise<CertificateRow[]> {
  const { rows } = await client.query<CertificateRow>(
    `select fingerprint, not_before as "notBefore", not_after as "notAfter", revoked_at is not null as revoked
     from host_certificate where host_id = $1 order by not_before desc`,
    [hostId],
  );
  return rows;
}

export interface HostIdentity {
  readonly hostId: string;
  readonly hostName: string;
  readonly domainId: string;
  readonly domainName: string;
  readonly notAfter: Date;
}

/** Whose certificate this is. Throws NOT_ALLOWED when it was revoked, has expired, or is not known here. */
export async function identifyHost(client: Queryable, fingerprint: string): Promise<HostIdentity> {
  const { rows } = await client.query<HostIdentity & { state: string; revoked: boolean; expired: boolean }>(
    `select h.id as "hostId", h.name as "hostName", h.domain_id as "domainId", d.name as "domainName", h.state,
       c.not_after as "notAfter", c.revoked_at is not null as revoked, c.not_after < now() as expired
     from host_certificate c join host h on h.id = c.host_id join domain d on d.id = h.domain_id
     where c.fingerprint = $1`,
    [fingerprint],
  );
  const row = rows[0];
  if (row === undefined) throw refused('is not known here');
  if (row.revoked || row.state === 'revoked') throw refused('was revoked');
  if (row.expired) throw refused('has expired');
  return row;
}

function refused(why: string): HoldfastError {
  return new HoldfastError('NOT_ALLOWED', `the certificate of this host ${why}`, {
    hint: 'Enrol the host again: holdfast host add NAME --replace',
  });
}

/** Revokes every certificate of the host, ends its streams at every replica, and fails its jobs. */
export async function revokeHost(
  client: pg.ClientBase,
  events: FleetEvents,
  host: Pick<Host, 'id' | 'name' | 'domainId'>,
  actor: string,
): Promise<number> {
  await client.query(`update host set state = 'revoked', connection_id = '' where id = $1`, [host.id]);
  await endTokens(client, host.id);
  await client.query(
    `update job set state = 'failed', finished_at = now() where host_id = $1 and state in ('queued', 'running')`,
    [host.id],
  );
  const fingerprints = await revokeCertificates(client, events, host.id);
  await appendAudit(client, { domainId: host.domainId, actor, action: 'host.revoke', subject: host.name });
  return fingerprints.length;
}

/**
 * Ends the host's enrolment tokens, used ones too (their user could ask again), but for the one with the hash `spare`. A day
 * back: a transaction that began a little earlier and waits for the row finds it ended as well.
 */
export async function endTokens(client: pg.ClientBase, hostId: string, spare?: Buffer): Promise<void> {
  await client.query(
    `update enrolment_token set expires_at = now() - interval '1 day'
     where host_id = $1 and expires_at > now() and secret_hash is distinct from $2`,
    [hostId, spare ?? null],
  );
}

export async function revokeCertificates(
  client: pg.ClientBase,
  events: FleetEvents,
  hostId: string,
): Promise<string[]> {
  const { rows } = await client.query<{ fingerprint: string }>(
    'update host_certificate set revoked_at = now() where host_id = $1 and revoked_at is null returning fingerprint',
    [hostId],
  );
  const fingerprints = rows.map((row) => row.fingerprint);
  if (fingerprints.length > 0) await events.tell(client, { kind: 'revoked', fingerprints });
  return fingerprints;
}
