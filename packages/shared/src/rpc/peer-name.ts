// The name under which a host's agent serves other agents of its domain. It stands in the host's certificate and nothing else does.
//
// Hazard: a certificate that is good for a server could pose as the controller. Clients of the controller ask for the controller's own
// name, which no host's certificate has; peers ask for the name of the very host that they mean.
//
// Tested in agent/src/recovery/failover/peers.test.ts.

import { X509Certificate } from 'node:crypto';

const SUFFIX = 'peer.holdfast.internal';

export function peerName(hostId: string, domainId: string): string {
  return `${hostId}.${domainId}.${SUFFIX}`;
}

/** Whose certificate (DER, verified already) this is; undefined when it is none of a host that serves peers. */
export function peerOf(der: Uint8Array): { readonly hostId: string; readonly domainId: string } | undefined {
  for (const entry of (new X509Certificate(der).subjectAltName ?? '').split(', ')) {
    const found = /^DNS:([^.]+)\.([^.]+)\.peer\.holdfast\.internal$/.exec(entry);
    if (found?.[1] !== undefined && found[2] !== undefined) return { hostId: found[1], domainId: found[2] };
  }
  return undefined;
}
