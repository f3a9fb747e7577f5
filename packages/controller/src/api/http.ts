// Metrics and health over HTTP, on a port of its own that listens on the loopback address unless told otherwise.
//
// Hazard: numbers say much about customers, so this port is not the public one, and answers two paths and nothing else.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Registry } from 'prom-client';

export interface HttpEndpoint {
  readonly port: number;
  close(): Promise<void>;
}

/** @param healthy resolves when the controller can do its work; what it throws is not told */
export async function serveHttp(
  address: { host: string; port: number },
  registry: Registry,
  healthy: () => Promise<void>,
): Promise<HttpEndpoint> {
  const server = createServer(
    { maxHeaderSize: 8192, requestTimeout: 10_000, headersTimeout: 5_000 },
    (request, response) => {
      const answer = (status: number, type: string, body: string): void => {
        response
          .writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
          .end(request.method === 'HEAD' ? '' : body);
      };
      const path = (request.url ?? '').split('?')[0];
      if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'text/plain', 'only GET\n');
      else if (path === '/healthz') {
        healthy().then(
          () => answer(200, 'text/plain', 'ok\n'),
          () => answer(503, 'text/plain', 'not ready\n'),
        );
      } else if (path === '/metrics') {
        registry.metrics().then(
          (text) => answer(200, registry.contentType, text),
          () => answer(500, 'text/plain', 'no metrics\n'),
        );
      } else answer(404, 'text/plain', 'not here\n');
    },
  );
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, resolve);
  });
  return { port: (server.address() as AddressInfo).port, close: () => closeServer(server) };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
