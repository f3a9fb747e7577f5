// Enrolment: a one-time token and a signing request become a host's certificate; renewal keeps it.
//
// Hazards: a stolen or guessed token, a token used twice, a token for one host that gives another's identity.
//
// Invariants (enrolment.db.test.ts, threats 21 and 44):
//   EN1 only the token's hash is kept; it names one host of one domain, ends with its time, and works once. The host that
//       used it may ask again with the very same key until then, because an answer can be lost;
//   EN2 a wrong, used or expired token gets one and the same answer and changes nothing;
//   EN3 replacing a host revokes what its name was certified with before, and ends every other token of it, in the same
//       transaction: else who used an older one could ask again, and be certified as the host that took its place;
//   EN4 of two tokens of one host that are used at once one gets in, and the other is refused.

import { createHash, randomBytes, randomUUID, X509Certificate } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { encodeEnrolmentToken } from '@holdfast/shared/rpc/enrolment-token';
import type pg from 'pg';

import type { Catalog } from '../catalog/catalog.ts';
import { appendAudit } from './audit.ts';
import type { CertificateAuthority, HostCertificate } from './certificate-authority.ts';
import { domainSecret } from './domains.ts';
import type { FleetEvents } from './fleet-events.ts';
import { endTokens, revokeCertificates, type HostIdentity } from './hosts.ts';
import type { MasterKey } from './master-key.ts';

export interface EnrolmentDeps {
  readonly catalog: Catalog;
  readonly authority: CertificateAuthority;
  readonly masterKey: MasterKey;
  readonly events: FleetEvents;
  /** host:port that goes into tokens. */
  readonly address: () => string;
}

const HOUR_S = 3600;
const DAY_S = 86_400;
const HOST_NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/i;

/** Makes a token for a new host, or for a machine that takes over a known name. Throws ALREADY_EXISTS, INVALID_ARGUMENT. */
export async function addHost(
  deps: EnrolmentDeps,
  host: { domainId: string; name: string; ttlSeconds: number; replace: boolean },
  actor: string,
): Promise<{ token: string; expiresAt: Date }> {
  if (!HOST_NAME.test(host.name)) {
    throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(host.name)} is not a host name`, {
      hint: 'Use letters, digits, dots, hyphens and underscores, at most 63.',
    });
  }
  const ttlSeconds = Math.min(host.ttlSeconds === 0 ? HOUR_S : host.ttlSeconds, DAY_S);
  const secret = randomBytes(32);
  const expiresAt = await deps.catalog.transaction(async (client) => {
    const hostId = await ensureWaitingHost(client, host);
    const { rows } = await client.query<{ expires_at: Date }>(
      `insert into enrolment_token (secret_hash, host_id, replace, expires_at)
       values ($1, $2, $3, now() + make_interval(secs => $4)) returning expires_at`,
      [sha256(secret), hostId, host.replace, ttlSeconds],
    );
    await appendAudit(client, { domainId: host.domainId, actor, action: 'host.add', subject: host.name });
    return rows[0]?.expires_at ?? new Date(0);
  });
  const token = encodeEnrolmentToken({ address: deps.address(), caFingerprint: deps.authority.fingerprint, secret });
  return { token, expiresAt };
}

async function ensureWaitingHost(
  client: pg.ClientBase,
  host: { domainId: string; name: string; replace: boolean },
): Promise<string> {
  await client.query(
    `insert into host (id, domain_id, name, state) values ($1, $2, $3, 'waiting') on conflict (domain_id, name) do nothing`,
    [randomUUID(), host.domainId, host.name],
  );
  const { rows } = await client.query<{ id: string; state: string }>(
    'select id, state from host where domain_id = $1 and name = $2 for update',
    [host.domainId, host.name],
  );
  const row = rows[0];
  if (row === undefined) throw new HoldfastError('INTERNAL', 'the host vanished while it was made');
  if (row.state !== 'waiting' && !host.replace) {
    throw new HoldfastError('ALREADY_EXISTS', `there is a host ${host.name} already`, {
      hint: 'If a new machine takes its place, add it with --replace.',
    });
  }
  return row.id;
}

export interface EnrolRequest {
  readonly secret: Uint8Array;
  readonly signingRequest: Uint8Array;
  readonly recordKey: Uint8Array;
  readonly facts: { hostname: string; machineId: string; agentVersion: string; os: string };
  readonly address: string;
}

export interface Enrolled extends HostIdentity {
  readonly certificate: HostCertificate;
  /** Undefined in a sealed domain. */
  readonly domainSecret: Buffer | undefined;
  readonly keyEpoch: number;
}

interface TokenRow {
  readonly secret_hash: Buffer;
  readonly host_id: string;
  readonly host_name: string;
  readonly domain_id: string;
  readonly domain_name: string;
  readonly key_epoch: number;
  readonly replace: boolean;
  readonly used_at: Date | null;
  readonly used_key_hash: Buffer | null;
}

/** Uses a token up. Throws NOT_ALLOWED for a token that is not good (any more), INVALID_ARGUMENT for a bad request. */
export async function enrol(deps: EnrolmentDeps, request: EnrolRequest): Promise<Enrolled> {
  if (request.recordKey.length !== 32) {
    throw new HoldfastError('INVALID_ARGUMENT', 'the record key is not 32 bytes of Ed25519');
  }
  return await deps.catalog.transaction(async (client) => {
    const token = await takeToken(client, request.secret);
    const certificate = await deps.authority.signHost(
      request.signingRequest,
      { hostId: token.host_id, domainId: token.domain_id },
      new Date(),
    );
    const keyHash = keyHashOf(certificate);
    if (token.used_at !== null && token.used_key_hash?.equals(keyHash) !== true) throw badToken();

    if (token.used_at === null) await admit(deps, client, token, keyHash, request);
    await recordCertificate(client, token.host_id, certificate);
    return {
      hostId: token.host_id,
      hostName: token.host_name,
      domainId: token.domain_id,
      domainName: token.domain_name,
      keyEpoch: token.key_epoch,
      notAfter: certificate.notAfter,
      certificate,
      domainSecret: await domainSecret(client, deps.masterKey, token.domain_id),
    };
  });
}

/**
 * The token's row, locked, and its host's. The lookup is by a hash, so its timing says nothing about the secret.
 *
 * The host first, as in everything that changes tokens: two tokens of one host that are used at once would otherwise each hold its own,
 * and the one that gets the host would wait for the other's, which waits for the host.
 */
async function takeToken(client: pg.ClientBase, secret: Uint8Array): Promise<TokenRow> {
  if (secret.length !== 32) throw badToken();
  await client.query(
    'select 1 from host where id = (select host_id from enrolment_token where secret_hash = $1) for update',
    [sha256(secret)],
  );
  const { rows } = await client.query<TokenRow>(
    `select t.secret_hash, t.host_id, t.replace, t.used_at, t.used_key_hash, h.name as host_name, h.domain_id,
       d.name as domain_name, d.key_epoch
     from enrolment_token t join host h on h.id = t.host_id join domain d on d.id = h.domain_id
     where t.secret_hash = $1 and t.expires_at > now() for update of t`,
    [sha256(secret)],
  );
  if (rows[0] === undefined) throw badToken();
  return rows[0];
}

async function admit(
  deps: EnrolmentDeps,
  client: pg.ClientBase,
  token: TokenRow,
  keyHash: Buffer,
  request: EnrolRequest,
): Promise<void> {
  await revokeCertificates(client, deps.events, token.host_id);
  await endTokens(client, token.host_id, token.secret_hash);
  await client.query('update enrolment_token set used_at = now(), used_key_hash = $2 where secret_hash = $1', [
    token.secret_hash,
    keyHash,
  ]);
  const { facts } = request;
  await client.query(
    `update host set state = 'enrolled', enrolled_at = now(), machine_id = $2, agent_version = $3, os = $4, record_key = $5,
       address = $6, connection_id = '', process_id = '', previous_process_id = '', cloned_at = null where id = $1`,
    [
      token.host_id,
      facts.machineId.slice(0, 200),
      facts.agentVersion.slice(0, 100),
      facts.os.slice(0, 200),
      Buffer.from(request.recordKey),
      request.address,
    ],
  );
  await appendAudit(client, {
    domainId: token.domain_id,
    actor: `host ${token.host_name}`,
    action: token.replace ? 'host.replace' : 'host.enrol',
    subject: token.host_name,
  });
}

/** A new certificate for a host that has a good one. The old one stays good until it ends: the answer may be lost. */
export async function renew(
  deps: EnrolmentDeps,
  host: HostIdentity,
  signingRequest: Uint8Array,
): Promise<HostCertificate> {
  const certificate = await deps.authority.signHost(signingRequest, host, new Date());
  await deps.catalog.transaction(async (client) => {
    // A revocation that runs at the same time either sees the new certificate or is seen here.
    const { rows } = await client.query<{ state: string }>('select state from host where id = $1 for update', [
      host.hostId,
    ]);
    if (rows[0]?.state !== 'enrolled') throw new HoldfastError('NOT_ALLOWED', 'the host was revoked');
    await recordCertificate(client, host.hostId, certificate);
    await appendAudit(client, {
      domainId: host.domainId,
      actor: `host ${host.hostName}`,
      action: 'host.renew',
      subject: host.hostName,
    });
  });
  return certificate;
}

async function recordCertificate(client: pg.ClientBase, hostId: string, certificate: HostCertificate): Promise<void> {
  await client.query(
    'insert into host_certificate (fingerprint, host_id, not_before, not_after) values ($1, $2, $3, $4)',
    [certificate.fingerprint, hostId, certificate.notBefore, certificate.notAfter],
  );
}

function keyHashOf(certificate: HostCertificate): Buffer {
  return sha256(new X509Certificate(certificate.der).publicKey.export({ type: 'spki', format: 'der' }));
}

function badToken(): HoldfastError {
  return new HoldfastError('NOT_ALLOWED', 'the enrolment token is not valid: wrong, used, or expired', {
    hint: 'Make a new one: holdfast host add NAME',
  });
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
