// The HTTP/2 receive windows of our servers, and of their clients.
//
// Hazard: grpc-js leaves a server's windows at 64 KiB, so an upload moves 64 KiB a round trip: 0.8 MB/s at 50 ms. Its own
// option works on clients alone. What a window promises, a slow handler may have to hold in memory, so windows are given
// to hosts with a certificate only, and all together stay within a budget.
//
// Invariants (controller/src/api/transport.test.ts):
//   FW1 a host's upload over a link with a delay has more than 1 MiB in flight;
//   FW2 the windows given out never add up to more than the budget plus the floor for each connection.
//
// How: grpc-js hands its credentials' options to http2.createSecureServer, looked up on the module at each call. The call
// is wrapped once, and the wrapper does nothing to servers whose options do not carry our hook.

import http2 from 'node:http2';

/**
 * What a host may have in flight towards us. 8 MiB carried 70 to 76 MB/s at a round trip of 50 ms, less than without the distance: as if a window
 * took two round trips. With 16 MiB the distance costs next to nothing (docs/benchmarks.md).
 */
export const HOST_WINDOW_BYTES = 16 * 1024 * 1024;
/** What a server may have in flight towards a client. It lies in the agent's memory, which is kept small, while threads write. */
export const CLIENT_WINDOW_BYTES = 8 * 1024 * 1024;
/** HTTP/2's own initial window, which every connection has. */
export const FLOOR_WINDOW_BYTES = 65_535;

/** What one more connection may have, when `givenBytes` are given out of `budgetBytes`. */
export function windowFor(givenBytes: number, budgetBytes: number): number {
  const left = budgetBytes - givenBytes;
  // Half of what is left, so that late comers share and nobody is turned away.
  return Math.max(FLOOR_WINDOW_BYTES, Math.min(HOST_WINDOW_BYTES, Math.floor(left / 2)));
}

export type SecureServerHook = (server: http2.Http2SecureServer) => void;

const HOOK = Symbol('holdfast.secureServerHook');

/** Options for a secure server that calls `hook` with the server as soon as it is made. */
export function withServerHook(options: http2.SecureServerOptions, hook: SecureServerHook): http2.SecureServerOptions {
  installOnce();
  const hooked: http2.SecureServerOptions & { [HOOK]: SecureServerHook } = { ...options, [HOOK]: hook };
  return hooked;
}

let installed = false;

function installOnce(): void {
  if (installed) return;
  installed = true;
  const original = http2.createSecureServer;
  const wrapped = (options: http2.SecureServerOptions, onRequest?: () => void): http2.Http2SecureServer => {
    const server = original(options, onRequest);
    const hook: unknown = Reflect.get(options, HOOK);
    if (typeof hook === 'function') hook(server);
    return server;
  };
  Object.defineProperty(http2, 'createSecureServer', { value: wrapped, configurable: true, writable: true });
}
