// The port on which this host's agent answers other agents of its domain.
//
// Hazard: anybody in the network can reach it. TLS demands a certificate of the same authority, its peer name tells host and domain, and
// only the other host of an application is listened to about it.
//
// Tested in peers.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import { failoverFromWire, failoverToWire } from '@holdfast/shared/rpc/failover-wire';
import { PeerDefinition, type PeerServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/failover';
import { peerOf } from '@holdfast/shared/rpc/peer-name';
import { createRpcServer, type PeerContext } from '@holdfast/shared/rpc/server';
import type { Log } from '@holdfast/shared/runtime/log';
import type { AgentIdentity } from './identity.ts';

export interface PeerServer {
  readonly port: number;
  renewCertificate(identity: AgentIdentity): void;
  stop(): void;
}

export interface PeerServerDeps {
  readonly identity: AgentIdentity;
  readonly listen: string;
  readonly log: Log;
  /** What is answered to this host about this application. Throws NOT_ALLOWED when it is not its other host. */
  readonly heard: (
    hostId: string,
    application: string,
    message: FailoverMessage,
  ) => Promise<readonly FailoverMessage[]>;
}

const MESSAGES_MAX = 16;
const ANONYMOUS_MAX = 16;
const PER_CERTIFICATE_MAX = 8;

/** Throws what binding the port throws. */
export async function startPeerServer(deps: PeerServerDeps): Promise<PeerServer> {
  const { identity, listen, log } = deps;
  const rpc = createRpcServer({
    certificateChainPem: identity.certificateChainPem,
    privateKeyPem: identity.tlsKeyPem,
    clientCaPem: identity.caCertificatePem,
    connectionLimits: { anonymous: ANONYMOUS_MAX, perCertificate: PER_CERTIFICATE_MAX },
    refusedConnection: (reason, address) => log.warn('peer.refused', { reason, address }),
    unexpectedError: (error, path) => log.error('peer.failed', { path, error }),
  });
  rpc.server.add(PeerDefinition, serviceOf(deps));
  const port = await rpc.listen(rpc.server, listen);
  return {
    port,
    renewCertificate: (fresh) => rpc.renewCertificate(fresh.certificateChainPem, fresh.tlsKeyPem),
    stop: () => rpc.server.forceShutdown(),
  };
}

function serviceOf({ identity, heard }: PeerServerDeps): PeerServiceImplementation<PeerContext> {
  const caller = ({ peerCertificate }: PeerContext): string => {
    const peer = peerCertificate === undefined ? undefined : peerOf(peerCertificate);
    if (peer?.domainId === identity.domainId) return peer.hostId;
    throw new HoldfastError('UNAUTHENTICATED', 'this port answers hosts of its own domain alone');
  };
  return {
    async tell(request, context) {
      const hostId = caller(context);
      if (request.messages.length > MESSAGES_MAX)
        throw new HoldfastError('LIMIT_EXCEEDED', 'too many messages at once');
      const messages = [];
      for (const wire of request.messages) {
        const { application, message } = failoverFromWire(wire);
        for (const answer of await heard(hostId, application, message))
          messages.push(failoverToWire(application, answer));
      }
      return { messages };
    },
    async ping(_request, context) {
      caller(context);
      return { hostId: identity.hostId };
    },
  };
}
