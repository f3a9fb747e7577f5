// Enrolment: a one-time token becomes this host's identity.
//
// Hazard: the token's secret is worth a host. It is sent only over a connection whose authority has the fingerprint that the
// token names (threats: man in the middle, rogue enrolment): first the presented chain is fetched, with nothing sent, and
// compared; then the call itself trusts that one authority and no other. The keys are on disk before the call, so that an
// answer that got lost is asked for again as the same host (threat 15).
//
// Invariants (enrol.test.ts): E1 with another fingerprint not one byte of the secret leaves; E2 a crash between any two
// steps leaves a host that can enrol, or is enrolled; E3 an enrolled host is not enrolled over unless it is asked for.

import { createPublicKey, X509Certificate } from 'node:crypto';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { callUnary, type Channel } from '@holdfast/shared/rpc/calls';
import { fetchCaCertificate, openChannel } from '@holdfast/shared/rpc/channel';
import type { EnrolmentToken } from '@holdfast/shared/rpc/enrolment-token';
import {
  EnrolmentDefinition,
  type EnrolResponse,
  type HostFacts,
} from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { retrying } from '@holdfast/shared/runtime/retry';
import {
  forgetPendingKeys,
  loadIdentity,
  loadPendingKeys,
  prepareStateDir,
  saveIdentity,
  savePendingKeys,
  type AgentIdentity,
  type PendingKeys,
} from './identity.ts';

export interface EnrolDeps {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly facts: HostFacts;
  /** 32 bytes that the operator handed over: for a sealed domain. */
  readonly domainSecret?: Uint8Array;
  /** Enrol although the host has an identity: it becomes another host, or the same one anew. */
  readonly replace: boolean;
}

export interface Enrolled {
  readonly identity: AgentIdentity;
  /** It was enrolled at that controller before, and nothing was changed. */
  readonly already: boolean;
}

const CALL_TIMEOUT_MS = 30_000;
const BACKOFF = { firstMs: 500, capMs: 5000 };
const ATTEMPTS = 4;

/**
 * Enrols this host. Throws NOT_ALLOWED (another authority than the token names; a token that is used or too old),
 * UNREACHABLE, ALREADY_EXISTS (enrolled elsewhere, or the token is for another controller).
 */
export async function enrol(token: EnrolmentToken, deps: EnrolDeps): Promise<Enrolled> {
  prepareStateDir(deps.stateDir);
  const known = loadIdentity(deps.stateDir);
  if (known !== undefined && !deps.replace) return alreadyEnrolled(known, token);

  const caCertificatePem = await retrying({ backoff: BACKOFF, attempts: ATTEMPTS }, deps, () =>
    fetchCaCertificate(token.address, token.caFingerprint),
  );
  const { newHostKeys, recordPublicKey, signingRequest } = await import('./signing-request.ts');
  let keys = loadPendingKeys(deps.stateDir);
  if (keys === undefined) {
    keys = newHostKeys();
    savePendingKeys(deps.stateDir, keys);
  }
  const request = {
    tokenSecret: Buffer.from(token.secret),
    signingRequest: await signingRequest(keys.tlsKeyPem, deps.facts.hostname),
    recordKey: recordPublicKey(keys.recordKeyPem),
    facts: deps.facts,
  };
  const channel = openChannel({ address: token.address, caCertificatePem });
  try {
    const response = await retrying({ backoff: BACKOFF, attempts: ATTEMPTS }, deps, () => callEnrol(channel, request));
    const identity = identityFrom(response, keys, token, caCertificatePem, deps.domainSecret);
    saveIdentity(deps.stateDir, identity);
    forgetPendingKeys(deps.stateDir);
    return { identity, already: false };
  } finally {
    channel.close();
  }
}

function callEnrol(
  channel: Channel,
  request: Parameters<typeof EnrolmentDefinition.methods.enrol.requestType.encode>[0],
): Promise<EnrolResponse> {
  const remote = { channel, service: EnrolmentDefinition.fullName };
  return callUnary(remote, EnrolmentDefinition.methods.enrol, request, { timeoutMs: CALL_TIMEOUT_MS });
}

function alreadyEnrolled(known: AgentIdentity, token: EnrolmentToken): Enrolled {
  const fingerprint = new X509Certificate(known.caCertificatePem).fingerprint256.replaceAll(':', '').toLowerCase();
  if (fingerprint === token.caFingerprint.toLowerCase()) return { identity: known, already: true };
  throw new HoldfastError(
    'ALREADY_EXISTS',
    `this host is enrolled at ${known.controllerAddress} as ${known.hostName}`,
    {
      hint: 'To move it to the controller of this token, enrol it with --replace.',
    },
  );
}

function identityFrom(
  response: EnrolResponse,
  keys: PendingKeys,
  token: EnrolmentToken,
  caCertificatePem: string,
  handedOver: Uint8Array | undefined,
): AgentIdentity {
  const certificateChainPem = chainPem(response.certificateChain, keys.tlsKeyPem, caCertificatePem);
  const sent = response.domainSecret.length > 0 ? response.domainSecret : undefined;
  if (sent !== undefined && sent.length !== 32) throw notAnAnswer('a domain secret of another length');
  // Whoever hands a secret over wants the domain sealed. A controller that sends its own would read everything from now on.
  if (sent !== undefined && handedOver !== undefined && !sent.equals(handedOver)) {
    throw new HoldfastError(
      'NOT_ALLOWED',
      'the controller gave this host another domain secret than the one handed over',
      {
        hint: 'The domain of this token is not the sealed one that you mean, or the controller can not be trusted.',
      },
    );
  }
  return {
    hostId: response.hostId,
    hostName: response.hostName,
    domainId: response.domainId,
    domainName: response.domainName,
    keyEpoch: response.keyEpoch,
    domainSecret: sent ?? handedOver,
    recordKeyPem: keys.recordKeyPem,
    tlsKeyPem: keys.tlsKeyPem,
    certificateChainPem,
    caCertificatePem,
    controllerAddress: token.address,
  };
}

/** The chain as PEM. Throws PROTOCOL_VIOLATION unless the leaf is for our key and was issued by the authority. */
export function chainPem(chain: readonly Uint8Array[], tlsKeyPem: string, caCertificatePem: string): string {
  const [leafDer] = chain;
  if (leafDer === undefined) throw notAnAnswer('no certificate');
  let certificates: X509Certificate[];
  try {
    certificates = chain.map((der) => new X509Certificate(der));
  } catch {
    throw notAnAnswer('a certificate that cannot be read');
  }
  const leaf = certificates[0];
  const ours = createPublicKey(tlsKeyPem).export({ type: 'spki', format: 'der' });
  if (leaf === undefined || !leaf.publicKey.export({ type: 'spki', format: 'der' }).equals(ours)) {
    throw notAnAnswer('a certificate for another key');
  }
  const authority = new X509Certificate(caCertificatePem);
  if (!leaf.verify((certificates[1] ?? authority).publicKey)) throw notAnAnswer('a certificate of another authority');
  return certificates.map((certificate) => certificate.toString()).join('');
}

function notAnAnswer(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the controller answered the enrolment with ${what}`);
}
