// The connections of one server: who they are, how many, and ending those of a revoked certificate.
//
// Hazards: a presented certificate that is not ours must not pass as "no certificate"; a revoked host's open streams must
// end at once; idle strangers and floods must not pile up (grpc-js survives them but keeps every one).
//
// Invariants (controller/src/api/transport.test.ts, threats 41 and 44):
//   CN1 a connection that presents a certificate which does not verify against our authority is closed;
//   CN2 end(fingerprint) closes every connection of that certificate before it returns;
//   CN3 a connection ends when its certificate does;
//   CN4 there are never more connections without a certificate, or for one certificate, than their limits.

import { createHash } from 'node:crypto';
import type http2 from 'node:http2';
import { TLSSocket } from 'node:tls';

import { FLOOR_WINDOW_BYTES, windowFor } from './flow-window.ts';

export interface ConnectionLimits {
  /** Connections without a client certificate: operators, enrolling hosts, strangers. */
  readonly anonymous: number;
  readonly perCertificate: number;
  /** A connection without a certificate on which nothing moves for this long is closed. */
  readonly anonymousIdleMs: number;
  /** Receive windows of all connections together. */
  readonly windowBudgetBytes: number;
}

export const DEFAULT_CONNECTION_LIMITS: ConnectionLimits = {
  anonymous: 512,
  perCertificate: 32,
  anonymousIdleMs: 120_000,
  windowBudgetBytes: 512 * 1024 * 1024,
};

export type RefusedConnection =
  | 'foreign-certificate'
  | 'too-many-streams'
  | 'too-many-anonymous'
  | 'too-many-of-certificate';

export interface Connections {
  /** Watches a server's sessions from now on. */
  attach(server: http2.Http2SecureServer): void;
  /** Closes every connection of the certificate with this SHA-256 fingerprint (hex). Returns how many there were. */
  end(fingerprint: string): number;
  count(): { anonymous: number; hosts: number };
}

/** SHA-256 of a DER certificate, hex: how certificates are named everywhere. */
export function fingerprintOf(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}

export function trackConnections(
  limits: ConnectionLimits,
  refused: (reason: RefusedConnection, address: string) => void,
): Connections {
  const anonymous = new Set<http2.ServerHttp2Session>();
  const byCertificate = new Map<string, Set<http2.ServerHttp2Session>>();
  let givenBytes = 0;

  const refuse = (session: http2.ServerHttp2Session, reason: RefusedConnection): void => {
    refused(reason, session.socket.remoteAddress ?? '');
    session.destroy();
  };
  const admitAnonymous = (session: http2.ServerHttp2Session): void => {
    if (anonymous.size >= limits.anonymous) return refuse(session, 'too-many-anonymous');
    anonymous.add(session);
    session.setTimeout(limits.anonymousIdleMs, () => session.destroy());
    session.once('close', () => anonymous.delete(session));
  };
  const admitHost = (session: http2.ServerHttp2Session, fingerprint: string, validUntil: Date): void => {
    const sessions = byCertificate.get(fingerprint) ?? new Set();
    if (sessions.size >= limits.perCertificate) return refuse(session, 'too-many-of-certificate');
    byCertificate.set(fingerprint, sessions.add(session));
    const bytes = windowFor(givenBytes, limits.windowBudgetBytes);
    if (bytes > FLOOR_WINDOW_BYTES) session.setLocalWindowSize(bytes);
    givenBytes += bytes;
    const expiry = closeAt(session, validUntil);
    session.once('close', () => {
      expiry.stop();
      givenBytes -= bytes;
      sessions.delete(session);
      if (sessions.size === 0) byCertificate.delete(fingerprint);
    });
  };

  return {
    attach(server) {
      server.on('session', (session) => {
        limitStreams(session, () => refuse(session, 'too-many-streams'));
        const socket = session.socket;
        const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
        if (certificate === undefined) return admitAnonymous(session);
        if (!(socket instanceof TLSSocket) || !socket.authorized) return refuse(session, 'foreign-certificate');
        admitHost(session, fingerprintOf(certificate.raw), new Date(certificate.validTo));
      });
    },
    end(fingerprint) {
      const sessions = [...(byCertificate.get(fingerprint) ?? [])];
      for (const session of sessions) session.destroy();
      return sessions.length;
    },
    count: () => ({
      anonymous: anonymous.size,
      hosts: [...byCertificate.values()].reduce((sum, sessions) => sum + sessions.size, 0),
    }),
  };
}

/** The longest delay that a timer keeps. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Closes the session at a moment of the wall clock, which is what certificates are valid by. */
function closeAt(session: http2.ServerHttp2Session, moment: Date): { stop(): void } {
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    const leftMs = moment.getTime() - Date.now();
    if (leftMs <= 0) return session.destroy();
    timer = setTimeout(arm, Math.min(leftMs, TIMER_MAX_MS));
    timer.unref();
  };
  arm();
  return { stop: () => clearTimeout(timer) };
}

/** Streams that a connection may open: so many at once, and so many a second for ever. Hosts and people need a few. */
const STREAM_BURST = 1000;
const STREAMS_PER_SECOND = 100;

/**
 * Opening streams and dropping them costs a peer nothing and us much (CVE-2023-44487), whatever code they are dropped with.
 * nghttp2 has a limit on resets of its own, but keeps the connection and its streams once it is reached.
 */
function limitStreams(session: http2.ServerHttp2Session, tooMany: () => void): void {
  let allowance = STREAM_BURST;
  let atMs = performance.now();
  session.on('stream', () => {
    const now = performance.now();
    allowance = Math.min(STREAM_BURST, allowance + ((now - atMs) / 1000) * STREAMS_PER_SECOND) - 1;
    atMs = now;
    if (allowance < 0 && !session.destroyed) tooMany();
  });
}
