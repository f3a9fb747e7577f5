// Renewing the host's certificate before it ends.
//
// Hazard: an agent that was away when its certificate ended is locked out and needs a person. So renewal starts at two
// thirds of the certificate's life and is tried again until it works. Clocks differ (threat 13): an agent whose clock is
// behind renews late, so the controller may ask for it as well (Welcome.renew), which does not look at this host's clock.
//
// Invariants (agent.test.ts): N1 due from two thirds of the life on; N2 a new key with
// each certificate, and both are replaced in one write.

import { X509Certificate } from 'node:crypto';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import { callUnary, type Channel } from '@holdfast/shared/rpc/calls';
import { EnrolmentDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { backoffMs } from '@holdfast/shared/runtime/retry';
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

export interface CertificateKeeperDeps {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  openChannel(): Channel;
  identity(): AgentIdentity;
  /** The new identity is on disk. */
  renewed(identity: AgentIdentity): void;
}

export interface CertificateKeeper {
  /** Renews whatever this host's clock says. */
  renewNow(): void;
  stop(): void;
}

const LOOK_EVERY_MS = 3_600_000;
const RETRY = { firstMs: 60_000, capMs: LOOK_EVERY_MS };

/** Looks once an hour whether the certificate is due, and renews it until that has worked. */
export function keepCertificateFresh(deps: CertificateKeeperDeps): CertificateKeeper {
  const { clock, log } = deps;
  let timer: Timer | undefined;
  let stopped = false;
  let renewing = false;
  let failures = 0;

  const look = (): void => {
    const life = certificateLife(deps.identity());
    const now = clock.wallMs();
    if (now >= life.notAfterMs) {
      const hint = 'Enrol it again with a new token (holdfast host add NAME --replace), unless the clock is wrong.';
      log.error('certificate.ended', { endedAt: new Date(life.notAfterMs).toISOString(), hint });
    }
    if (now >= renewalDueAt(life)) void renew();
    else lookAgain(LOOK_EVERY_MS);
  };
  const lookAgain = (delayMs: number): void => {
    timer?.cancel();
    if (!stopped) timer = clock.after(delayMs, look, { background: true });
  };
  const renew = async (): Promise<void> => {
    if (renewing || stopped) return;
    renewing = true;
    try {
      const identity = await renewCertificate(deps.identity(), deps.stateDir, () => deps.openChannel());
      failures = 0;
      log.info('certificate.renewed', { endsAt: new Date(certificateLife(identity).notAfterMs).toISOString() });
      if (!stopped) deps.renewed(identity);
      lookAgain(LOOK_EVERY_MS);
    } catch (error) {
      failures++;
      const delayMs = RETRY.firstMs / 2 + backoffMs(RETRY, failures, deps.random());
      log.warn('certificate.not-renewed', { error: toHoldfastError(error), retryInMs: delayMs });
      lookAgain(delayMs);
    } finally {
      renewing = false;
    }
  };

  lookAgain(0);
  return {
    renewNow: () => void renew(),
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}
