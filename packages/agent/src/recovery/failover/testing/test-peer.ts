// A host's identity of a test's authority, with the certificate that names it to its peers.

import { peerName } from '@holdfast/shared/rpc/peer-name';
import type { AgentIdentity } from '../../../link/identity.ts';
import { newTlsKey, signingRequest } from '../../../link/signing-request.ts';
import type { TestAuthority } from '../../../testing/test-authority.ts';
import { testIdentity } from '../../../testing/test-controller.ts';

export async function testPeer(authority: TestAuthority, hostId: string, domainId: string): Promise<AgentIdentity> {
  const tlsKeyPem = newTlsKey();
  const request = await signingRequest(tlsKeyPem, hostId);
  const der = await authority.sign(request, hostId, undefined, peerName(hostId, domainId));
  return {
    ...(await testIdentity(authority, '127.0.0.1:1')),
    hostId,
    domainId,
    tlsKeyPem,
    certificateChainPem: `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`,
  };
}
