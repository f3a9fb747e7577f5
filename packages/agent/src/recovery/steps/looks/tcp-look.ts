// A port that takes connections.
//
// Tested in ../step-conformance.test.ts.

import { connect } from 'node:net';
import { LOOK_MS, type Look, type LookTarget } from './look-target.ts';

/** HOST:PORT, [IPv6]:PORT. Undefined: neither. */
export function hostAndPort(address: string): { host: string; port: number } | undefined {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined;
  return { host, port: Number(port) };
}

export function lookAtPort({ address }: LookTarget & { kind: 'tcp' }, signal: AbortSignal): Promise<Look> {
  const target = hostAndPort(address);
  if (target === undefined) return Promise.resolve({ well: false, message: `${address} is not HOST:PORT`, facts: {} });
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = connect(target);
    const end = (well: boolean, message: string): void => {
      signal.removeEventListener('abort', cancelled);
      socket.destroy();
      const facts = { 'latency-ms': String(Math.round(performance.now() - startedAt)) };
      resolve({ well, message, facts: well ? facts : {} });
    };
    const cancelled = (): void => end(false, 'cancelled');
    signal.addEventListener('abort', cancelled, { once: true });
    socket.setTimeout(LOOK_MS, () => end(false, `${address} does not answer within ${LOOK_MS / 1000} s`));
    socket.once('connect', () => end(true, `${address} takes connections`));
    socket.once('error', (error) => end(false, `${address} does not take connections: ${error.message}`));
    if (signal.aborted) cancelled();
  });
}
