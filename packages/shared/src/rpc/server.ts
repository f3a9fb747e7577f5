// A gRPC server on one TLS port for everybody: hosts (client certificate), operators (bearer token) and hosts that enrol.
//
// Hazards: an identity that a client could write itself (so what the TLS layer verified replaces any metadata of that
// name); floods, giant messages and headers, idle connections (threat 41: every limit is set here); a 64 KiB upload window.
//
// Invariants (controller/src/api/transport.test.ts, where certificates can be made):
//   RS1 `peerCertificate` is the certificate that TLS verified, or undefined; no metadata can forge it;
//   RS2 a message over MESSAGE_MAX_BYTES, a header list over HEADER_MAX_BYTES, a stream over the limit, are refused;
//   RS3 a resetting, pinging or garbage-sending client loses its connection, and others keep theirs.
//
// Who a certificate belongs to, and what anybody may do, is not decided here.

import type http2 from 'node:http2';
import type { SecureContextOptions } from 'node:tls';

import grpc from '@grpc/grpc-js';
import { createServer, type Server } from 'nice-grpc';
import type { ServerMiddleware } from 'nice-grpc-common';

import {
  DEFAULT_CONNECTION_LIMITS,
  trackConnections,
  type ConnectionLimits,
  type Connections,
  type RefusedConnection,
} from './connections.ts';
import { HOST_WINDOW_BYTES, withServerHook } from './flow-window.ts';
import { errorsToStatus } from './status.ts';

/** 1 MiB of data and what surrounds it. */
export const MESSAGE_MAX_BYTES = 1024 * 1024 + 64 * 1024;
export const HEADER_MAX_BYTES = 16 * 1024;
const STREAMS_MAX = 128;

export interface RpcServerOptions {
  /** Leaf first, then the authority's certificate, PEM: an enrolling host recognises the authority by its fingerprint. */
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  /** The authority that client certificates must come from, PEM. */
  readonly clientCaPem: string;
  readonly connectionLimits?: Partial<ConnectionLimits>;
  readonly refusedConnection?: (reason: RefusedConnection, address: string) => void;
  /** An exception that no handler meant to throw; the client learns nothing of it. */
  readonly unexpectedError: (error: unknown, path: string) => void;
}

/** What the transport knows of the other end. */
export interface PeerContext {
  /** DER, verified against our authority; undefined when none was presented. */
  readonly peerCertificate: Uint8Array | undefined;
  /** host:port */
  readonly peerAddress: string;
}

export interface RpcServer {
  /** Add middleware and services here, then listen. */
  readonly server: Server<PeerContext>;
  readonly connections: Connections;
  /** Binds `server` (or what `server.use()` returned). Returns the port, also when 0 was asked for. */
  listen(server: Pick<Server, 'listen'>, address: string): Promise<number>;
  /** New connections get this certificate from now on. */
  renewCertificate(certificateChainPem: string, privateKeyPem: string): void;
}

/** A server that is not yet bound. */
export function createRpcServer(options: RpcServerOptions): RpcServer {
  const connections = trackConnections(
    { ...DEFAULT_CONNECTION_LIMITS, ...options.connectionLimits },
    options.refusedConnection ?? (() => undefined),
  );
  const server = createServer({
    'grpc.max_receive_message_length': MESSAGE_MAX_BYTES,
    'grpc.max_send_message_length': MESSAGE_MAX_BYTES * 4,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 20_000,
    'grpc.max_connection_idle_ms': 300_000,
    'grpc.enable_channelz': 0,
    interceptors: [namePeer],
  })
    .use(readPeer)
    .use(errorsToStatus(options.unexpectedError));
  const credentials = new MutualTlsCredentials(options, (made) => connections.attach(made));
  return {
    server,
    connections,
    listen: (bound, address) => bound.listen(address, credentials),
    renewCertificate: (cert, key) => credentials.renew({ ca: options.clientCaPem, cert, key }),
  };
}

/** Options that Node documents and its types lack. */
interface SessionLimits extends http2.SecureServerOptions {
  readonly maxSessionInvalidFrames: number;
  readonly maxSessionRejectedStreams: number;
}

/** A client certificate is asked for and verified, but not demanded; connections.ts closes those with a foreign one. */
class MutualTlsCredentials extends grpc.ServerCredentials {
  constructor(options: RpcServerOptions, attach: (server: http2.Http2SecureServer) => void) {
    const limits: SessionLimits = {
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: 10_000,
      maxHeaderListPairs: 64,
      maxOutstandingPings: 4,
      maxSettings: 16,
      maxSessionInvalidFrames: 16,
      maxSessionRejectedStreams: 64,
      // Above what connections.ts allows: nghttp2's own limit would stop the peer, but keep the connection and its streams.
      streamResetBurst: 2000,
      streamResetRate: 200,
      maxSessionMemory: 64,
      settings: {
        initialWindowSize: HOST_WINDOW_BYTES,
        maxConcurrentStreams: STREAMS_MAX,
        maxHeaderListSize: HEADER_MAX_BYTES,
        maxFrameSize: 64 * 1024,
        enablePush: false,
      },
    };
    super(withServerHook(limits, attach), {
      ca: options.clientCaPem,
      cert: options.certificateChainPem,
      key: options.privateKeyPem,
    });
  }

  renew(context: SecureContextOptions): void {
    this.updateSecureContextOptions(context);
  }

  override _equals(other: grpc.ServerCredentials): boolean {
    return this === other;
  }
}

const PEER = 'holdfast-peer-bin';

/** Replaces whatever the client sent under our name by what TLS verified. */
const namePeer: grpc.ServerInterceptor = (_method, call) =>
  new grpc.ServerInterceptingCall(call, {
    start(next) {
      next({
        onReceiveMetadata(metadata, proceed) {
          metadata.remove(PEER);
          const certificate = call.getAuthContext().sslPeerCertificate;
          if (certificate !== undefined) metadata.set(PEER, certificate.raw);
          proceed(metadata);
        },
      });
    },
  });

const readPeer: ServerMiddleware<PeerContext> = async function* read(call, context) {
  const peerCertificate = context.metadata.get(PEER);
  return yield* call.next(call.request, { ...context, peerCertificate, peerAddress: context.peer });
};
