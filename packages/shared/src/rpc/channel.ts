// Client channels: of agents (client certificate) and of operators (bearer token), both pinned to one authority.
//
// Hazard: trusting the machine's list of authorities would let any of them pose as the controller. The only root here is
// the controller's own authority. Its server certificates all carry one fixed name, so a host may know its controller by
// whatever address gets through (NAT, a balancer); certificates of hosts carry no name but that host's own for its peers.
//
// Tested in controller/src/api/transport.test.ts.

import { X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';

import grpc from '@grpc/grpc-js';
import { createChannel, createClientFactory, type Channel, type Client, type CompatServiceDefinition } from 'nice-grpc';
import { Metadata, type ClientMiddleware } from 'nice-grpc-common';

import { HoldfastError } from '../base/errors.ts';
import { fingerprintOf } from './connections.ts';
import { CLIENT_WINDOW_BYTES } from './flow-window.ts';
import { MESSAGE_MAX_BYTES } from './server.ts';
import { statusToErrors } from './status.ts';

/** A name in every server certificate of every controller's authority. */
export const CONTROLLER_NAME = 'controller.holdfast.internal';

export interface ChannelTarget {
  /** host:port, IPv6 in brackets */
  readonly address: string;
  readonly caCertificatePem: string;
  /** What the server's certificate must be for; the controller, unless another agent is meant (peer-name.ts). */
  readonly serverName?: string;
  /** Agents: chain (leaf first) and private key, PEM. */
  readonly clientCertificate?: { readonly chainPem: string; readonly keyPem: string };
  /** How soon a peer that has vanished is noticed: a ping after `everyMs` of silence, answered within `timeoutMs`. */
  readonly keepalive?: { readonly everyMs: number; readonly timeoutMs: number };
}

/**
 * An answer may take 10 s, since it comes behind what the kernel has already taken: seconds' worth of bytes on a slow link. A ping of an
 * idle host every 10 s is as much as its heartbeat.
 */
const KEEPALIVE = { everyMs: 10_000, timeoutMs: 10_000 };
/** For connections that carry work, which somebody waits for. */
export const WORK_KEEPALIVE = { everyMs: 5000, timeoutMs: 10_000 };

/** Opens a channel; it connects on the first call and again by itself. `channel.close()` ends it. */
export function openChannel(target: ChannelTarget): Channel {
  const credentials = grpc.credentials.createSsl(
    Buffer.from(target.caCertificatePem),
    target.clientCertificate === undefined ? null : Buffer.from(target.clientCertificate.keyPem),
    target.clientCertificate === undefined ? null : Buffer.from(target.clientCertificate.chainPem),
  );
  return createChannel(target.address, credentials, {
    'grpc.ssl_target_name_override': target.serverName ?? CONTROLLER_NAME,
    'grpc.default_authority': target.serverName ?? CONTROLLER_NAME,
    'grpc.max_receive_message_length': MESSAGE_MAX_BYTES * 4,
    'grpc.max_send_message_length': MESSAGE_MAX_BYTES,
    'grpc.keepalive_time_ms': (target.keepalive ?? KEEPALIVE).everyMs,
    'grpc.keepalive_timeout_ms': (target.keepalive ?? KEEPALIVE).timeoutMs,
    'grpc.keepalive_permit_without_calls': 0,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 5_000,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
    'grpc-node.flow_control_window': CLIENT_WINDOW_BYTES,
  });
}

/**
 * A client of one service whose failures are HoldfastErrors. With `unaryTimeoutMs`, a call without streams that has no answer by
 * then fails with UNREACHABLE.
 */
export function createRpcClient<Service extends CompatServiceDefinition>(
  definition: Service,
  channel: Channel,
  options: { readonly bearerToken?: string; readonly unaryTimeoutMs?: number } = {},
): Client<Service> {
  let factory = createClientFactory().use(statusToErrors);
  if (options.unaryTimeoutMs !== undefined) factory = factory.use(withTimeout(options.unaryTimeoutMs));
  if (options.bearerToken === undefined) return factory.create(definition, channel);
  return factory.use(withBearer(options.bearerToken)).create(definition, channel);
}

function withBearer(token: string): ClientMiddleware {
  return async function* authorise(call, options) {
    const metadata = Metadata(options.metadata).set('authorization', `Bearer ${token}`);
    return yield* call.next(call.request, { ...options, metadata });
  };
}

function withTimeout(timeoutMs: number): ClientMiddleware {
  return async function* limit(call, options) {
    if (call.requestStream || call.responseStream) return yield* call.next(call.request, options);
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    try {
      return yield* call.next(call.request, { ...options, signal });
    } catch (error) {
      if (!timeout.aborted || options.signal?.aborted === true) throw error;
      throw new HoldfastError('UNREACHABLE', `the controller did not answer within ${timeoutMs / 1000} s`, {
        cause: error,
      });
    }
  };
}

/**
 * The authority's certificate (PEM) that the server at `address` presents, if its SHA-256 fingerprint (hex) is the expected
 * one and the server's own certificate was issued by it. Nothing secret is sent. Throws UNREACHABLE or NOT_ALLOWED.
 */
export async function fetchCaCertificate(address: string, fingerprint: string, timeoutMs = 10_000): Promise<string> {
  const chain = await presentedChain(address, timeoutMs);
  const leaf = chain[0];
  const ca = chain.find((certificate) => fingerprintOf(certificate.raw) === fingerprint.toLowerCase());
  if (leaf === undefined || ca === undefined || !leaf.checkIssued(ca) || !leaf.verify(ca.publicKey)) {
    throw new HoldfastError(
      'NOT_ALLOWED',
      `${address} is not the controller that was named: its authority has another fingerprint`,
      {
        hint: 'Check the address. If it is right, somebody may be between you and the controller.',
      },
    );
  }
  return ca.toString();
}

function presentedChain(address: string, timeoutMs: number): Promise<X509Certificate[]> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(address.slice(colon + 1));
  return new Promise((resolve, reject) => {
    // The fingerprint decides, so the usual verification has nothing to add yet.
    const socket = connect({
      host,
      port,
      servername: CONTROLLER_NAME,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new HoldfastError('UNREACHABLE', `the controller at ${address} can't be reached: ${why}`));
    };
    socket.setTimeout(timeoutMs, () => fail(`no answer within ${timeoutMs} ms`));
    socket.once('error', (error) => fail(error.message));
    socket.once('secureConnect', () => {
      const chain = chainOf(socket);
      socket.destroy();
      resolve(chain);
    });
  });
}

const CHAIN_MAX = 8;

function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let certificate = socket.getPeerCertificate(true);
  while (certificate?.raw !== undefined && chain.length < CHAIN_MAX) {
    chain.push(new X509Certificate(certificate.raw));
    // The last one names itself as its issuer.
    if (certificate.issuerCertificate === certificate) break;
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
