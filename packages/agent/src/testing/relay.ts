// A TCP relay for tests: what lies between agent and controller, and goes wrong.

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Relay {
  readonly address: string;
  /** Bytes that clients sent, in all. */
  readonly received: () => Buffer;
  /** From now on nothing is passed on; connections stay open (threats 14, 15). */
  swallow(direction: 'both' | 'to-server' | 'to-client'): void;
  /** New and old connections work again. */
  heal(): void;
  /** Resets every connection. */
  cut(): void;
  readonly connections: () => number;
  close(): Promise<void>;
}

export async function openRelay(port: number): Promise<Relay> {
  const pairs = new Set<readonly [Socket, Socket]>();
  const seen: Buffer[] = [];
  let accepted = 0;
  let lost: 'none' | 'both' | 'to-server' | 'to-client' = 'none';
  const server = createServer((client) => {
    accepted++;
    const upstream = connect({ host: '127.0.0.1', port });
    const pair = [client, upstream] as const;
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    client.on('data', (chunk) => {
      seen.push(chunk);
      if (lost !== 'both' && lost !== 'to-server') upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (lost !== 'both' && lost !== 'to-client') client.write(chunk);
    });
    for (const socket of pair) socket.on('error', end).on('close', end);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const [client, upstream] of pairs) {
      client.resetAndDestroy();
      upstream.destroy();
    }
    pairs.clear();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => Buffer.concat(seen),
    swallow: (direction) => void (lost = direction),
    heal: () => void (lost = 'none'),
    cut,
    connections: () => accepted,
    close: () =>
      new Promise((resolve) => {
        cut();
        server.close(() => resolve());
      }),
  };
}
