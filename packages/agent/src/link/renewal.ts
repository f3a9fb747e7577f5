// Renewing the host's certificate before it ends.
//
// Hazard: an agent that was away when its certificate ended is locked out and needs a person. So renewal starts at two
// thirds of the certificate's life and is tried again until it works. Clocks differ (threat 13): an agent whose clock is
// behind renews late, so the controller may ask for it as well (Welcome.renew), which does not look at this host's clock.
//
// Invariants (renewal.test.ts): N1 due from two thirds of the life on, whatever the clock did in between; N2 a new key with
// each certificate, and both are replaced in one write.

import { X509Certificate } from 'node:crypto';
import { callUnary, type Channel } from '@holdfast/shared/rpc/calls';
import { EnrolmentDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { chainPem } from './enrol.ts';
import { saveIdentity, type AgentIdentity } from './identity.ts';

const CALL_TIMEOUT_MS = 30_000;

export interface CertificateLife {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export function certificateLife(identity: AgentIdentity): CertificateLife {
  const leaf = new X509Certificate(identity.certificateChainPem);
  return { notBeforeMs: Date.parse(leaf.validFrom), notAfterMs: Date.parse(leaf.validTo) };
}

/** When to renew, by the wall clock. */
export function renewalDueAt(life: CertificateLife): number {
  return life.notBeforeMs + ((life.notAfterMs - life.notBeforeMs) * 2) / 3;
}

/** Asks for a new certificate with a new key, and stores both. Returns the new identity; throws what the call throws. */
export async function renewCertificate(
  identity: AgentIdentity,
  stateDir: string,
  openChannel: () => Channel,
): Promise<AgentIdentity> {
  const { newTlsKey, signingRequest } = await import('./signing-request.ts');
  const tlsKeyPem = newTlsKey();
  const request = { signingRequest: await signingRequest(tlsKeyPem, identity.hostName) };
  const channel = openChannel();
  try {
    const response = await callUnary(
      { channel, service: EnrolmentDefinition.fullName },
      EnrolmentDefinition.methods.renew,
      request,
      { timeoutMs: CALL_TIMEOUT_MS },
    );
    const certificateChainPem = chainPem(response.certificateChain, tlsKeyPem, identity.caCertificatePem);
    const renewed: AgentIdentity = { ...identity, tlsKeyPem, certificateChainPem };
    saveIdentity(stateDir, renewed);
    return renewed;
  } finally {
    channel.close();
  }
}
