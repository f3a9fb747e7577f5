// What lies between an agent and its controller, in a test's process: a TCP relay that goes wrong as it is told.

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What clients sent is kept up to here. */
const RECEIVED_MAX_BYTES = 64 * 1024;

type Direction = 'to-server' | 'to-client';

export interface Relay {
  /** host:port, to be called instead of the controller's. */
  readonly address: string;
  /** What clients sent first. */
  received(): Buffer;
  /** Connections made so far. */
  connections(): number;
  /** Bytes passed on so far, in both directions. */
  passed(): number;
  /** Bytes vanish from now on; connections stay open. */
  lose(direction: 'both' | Direction): void;
  /** Nothing moves, and nothing is lost: `heal` lets it go on. */
  stall(): void;
  /** The next `bytes` go one by one. */
  slice(bytes: number): void;
  /** Everything is late by so much. */
  delay(ms: number): void;
  /** Resets every connection. */
  cut(): void;
  /** As good as new. What was lost stays lost. */
  heal(): void;
  close(): Promise<void>;
}

interface Faults {
  lost: 'none' | 'both' | Direction;
  stalled: Promise<void> | undefined;
  sliceBytes: number;
  delayMs: number;
}

/** @param port the controller's, on this machine */
export async function openRelay(port: number): Promise<Relay> {
  const pairs = new Set<readonly [Socket, Socket]>();
  const faults: Faults = { lost: 'none', stalled: undefined, sliceBytes: 0, delayMs: 0 };
  let release: () => void = () => undefined;
  let passed = 0;
  let accepted = 0;
  const received: Buffer[] = [];
  let receivedBytes = 0;
  const keep = (chunk: Buffer): void => {
    const kept = chunk.subarray(0, RECEIVED_MAX_BYTES - receivedBytes);
    receivedBytes += kept.length;
    if (kept.length > 0) received.push(kept);
  };
  const pass = async (chunk: Buffer, to: Socket, direction: Direction, due: number): Promise<void> => {
    await sleep(Math.max(0, due - performance.now()));
    await faults.stalled;
    if (faults.lost === 'both' || faults.lost === direction) return;
    await write(to, chunk, faults);
    passed += chunk.length;
  };
  const carry = async (from: Socket, to: Socket, direction: Direction): Promise<void> => {
    let last = Promise.resolve();
    for await (const chunk of from as AsyncIterable<Buffer>) {
      if (direction === 'to-server') keep(chunk);
      const due = performance.now() + faults.delayMs;
      last = last.then(() => pass(chunk, to, direction, due));
      // What is late does not hold back what comes next: a long way holds much.
      if (faults.delayMs === 0) await last;
    }
  };
  const server = createServer((client) => {
    accepted++;
    const upstream = connect({ host: '127.0.0.1', port, noDelay: true });
    const pair = [client, upstream] as const;
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    // A socket that was destroyed ends its own loop with an error.
    carry(client, upstream, 'to-server').catch(end);
    carry(upstream, client, 'to-client').catch(end);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const heal = (): void => {
    Object.assign(faults, { lost: 'none', stalled: undefined, sliceBytes: 0, delayMs: 0 });
    release();
  };
  const cut = (): void => {
    for (const [client, upstream] of pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
    pairs.clear();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => Buffer.concat(received),
    connections: () => accepted,
    passed: () => passed,
    lose: (direction) => void (faults.lost = direction),
    stall: () => void (faults.stalled = new Promise((resolve) => (release = resolve))),
    slice: (bytes) => void (faults.sliceBytes = bytes),
    delay: (ms) => void (faults.delayMs = ms),
    cut,
    heal,
    close: async () => {
      heal();
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function write(to: Socket, chunk: Buffer, faults: Faults): Promise<void> {
  let at = 0;
  for (; at < chunk.length && faults.sliceBytes > 0 && !to.destroyed; at++, faults.sliceBytes--) {
    const slice = chunk.subarray(at, at + 1);
    await new Promise<unknown>((resolve) => to.write(slice, resolve));
  }
  if (!to.destroyed && at < chunk.length && !to.write(chunk.subarray(at))) {
    await Promise.race([
      new Promise((resolve) => to.once('drain', resolve)),
      new Promise((resolve) => to.once('close', resolve)),
    ]);
  }
}
