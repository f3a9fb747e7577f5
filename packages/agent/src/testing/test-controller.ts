// A controller for tests of the link: real TLS, real gRPC, services that a test scripts.

import { generateKeyPairSync } from 'node:crypto';
import { openChannel, type ChannelTarget } from '@holdfast/shared/rpc/channel';
import type { Channel } from '@holdfast/shared/rpc/calls';
import { ControlDefinition, type ControlServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import {
  EnrolmentDefinition,
  type EnrolmentServiceImplementation,
} from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { VaultDefinition, type VaultServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { createRpcServer } from '@holdfast/shared/rpc/server';
import type { AgentIdentity } from '../link/identity.ts';
import { newTlsKey, signingRequest } from '../link/signing-request.ts';
import { openRelay, type Relay } from './relay.ts';
import { newTestAuthority, type TestAuthority } from './test-authority.ts';

export interface TestServices {
  readonly control?: ControlServiceImplementation;
  readonly enrolment?: EnrolmentServiceImplementation;
  readonly vault?: VaultServiceImplementation;
}

export interface TestController {
  readonly authority: TestAuthority;
  readonly relay: Relay;
  /** An identity that this controller accepts, whose address is the relay's. */
  readonly identity: AgentIdentity;
  openChannel(keepalive?: ChannelTarget['keepalive']): Channel;
  close(): Promise<void>;
}

export async function startTestController(services: TestServices): Promise<TestController> {
  const authority = await newTestAuthority();
  const rpc = createRpcServer({
    certificateChainPem: authority.serverChainPem,
    privateKeyPem: authority.serverKeyPem,
    clientCaPem: authority.caPem,
    unexpectedError: () => undefined,
  });
  if (services.control !== undefined) rpc.server.add(ControlDefinition, services.control);
  if (services.enrolment !== undefined) rpc.server.add(EnrolmentDefinition, services.enrolment);
  if (services.vault !== undefined) rpc.server.add(VaultDefinition, services.vault);
  const port = await rpc.listen(rpc.server, '127.0.0.1:0');
  const relay = await openRelay(port);
  const identity = await testIdentity(authority, relay.address);
  return {
    authority,
    relay,
    identity,
    openChannel: (keepalive) =>
      openChannel({
        address: relay.address,
        caCertificatePem: identity.caCertificatePem,
        clientCertificate: { chainPem: identity.certificateChainPem, keyPem: identity.tlsKeyPem },
        ...(keepalive === undefined ? {} : { keepalive }),
      }),
    async close() {
      rpc.server.forceShutdown();
      await relay.close();
    },
  };
}

export async function testIdentity(
  authority: TestAuthority,
  controllerAddress: string,
  life?: { notBefore: Date; notAfter: Date },
): Promise<AgentIdentity> {
  const tlsKeyPem = newTlsKey();
  const der = await authority.sign(await signingRequest(tlsKeyPem, 'web-1'), 'host-1', life);
  return {
    hostId: 'host-1',
    hostName: 'web-1',
    domainId: 'domain-1',
    domainName: 'Example',
    keyEpoch: 1,
    domainSecret: Buffer.alloc(32, 7),
    recordKeyPem: generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    tlsKeyPem,
    certificateChainPem: `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`,
    caCertificatePem: authority.caPem,
    controllerAddress,
  };
}
