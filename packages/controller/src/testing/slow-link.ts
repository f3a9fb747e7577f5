// A TCP relay that delays every byte, each way, and counts what is on its way: a distant network within one process.

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface SlowLink {
  readonly port: number;
  /** The most bytes that were on their way up at one moment. */
  readonly peakBytesUp: () => number;
  close(): Promise<void>;
}

export async function openSlowLink(toPort: number, delayMs: number): Promise<SlowLink> {
  const sockets = new Set<Socket>();
  let inFlight = 0;
  let peak = 0;
  const delay = (from: Socket, to: Socket, count: boolean): void => {
    from.on('data', (bytes: Buffer) => {
      if (count) peak = Math.max(peak, (inFlight += bytes.length));
      setTimeout(() => {
        if (count) inFlight -= bytes.length;
        if (!to.destroyed) to.write(bytes);
      }, delayMs);
    });
    from.on('close', () => setTimeout(() => to.destroy(), delayMs));
    from.on('error', () => undefined);
  };
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: toPort, host: '127.0.0.1', noDelay: true });
    sockets.add(near).add(far);
    delay(near, far, true);
    delay(far, near, false);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    peakBytesUp: () => peak,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
