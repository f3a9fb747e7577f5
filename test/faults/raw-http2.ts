// HTTP/2 by hand, as no library would send it: for the tests of what a server does with a peer that keeps no rules.
//
// Frames by RFC 9113; header blocks by RFC 7541, all fields as literals without indexing, so that nothing has to be remembered.

import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

export const FRAME = { data: 0, headers: 1, resetStream: 3, settings: 4, ping: 6, goAway: 7, continuation: 9 } as const;
export const FLAG = { endStream: 1, endHeaders: 4 } as const;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const HEADER_BYTES = 9;

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block. Names and values must be shorter than 127 bytes each. */
export function headerBlock(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [
      Buffer.of(0, name.length),
      Buffer.from(name, 'latin1'),
      Buffer.of(value.length),
      Buffer.from(value, 'latin1'),
    ]),
  );
}

/** The request headers of a gRPC call. */
export function callHeaders(path: string): Buffer {
  return headerBlock([
    [':method', 'POST'],
    [':scheme', 'https'],
    [':authority', 'controller'],
    [':path', path],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
  ]);
}

export interface RawPeer {
  readonly socket: TLSSocket;
  /** Of the frames that came, by type. */
  readonly received: ReadonlyMap<number, number>;
  /** Resolves when the other side has ended the connection, however. */
  readonly ended: Promise<void>;
  /** False when nobody takes it any more. Waits while the other side does not read. */
  send(bytes: Uint8Array): Promise<boolean>;
  close(): void;
}

/** A TLS connection that has said its preface. */
export async function openRawPeer(port: number): Promise<RawPeer> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined); // a reset is an end like another
  await once(socket, 'secureConnect');
  const received = new Map<number, number>();
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + rest.readUIntBE(0, 3);
      if (rest.length < end) return;
      const type = rest.readUInt8(3);
      received.set(type, (received.get(type) ?? 0) + 1);
      rest = rest.subarray(end);
    }
  });
  const peer: RawPeer = {
    socket,
    received,
    ended,
    async send(bytes) {
      if (socket.destroyed || socket.writableEnded) return false;
      if (!socket.write(bytes)) await Promise.race([once(socket, 'drain').catch(() => undefined), ended]);
      return !socket.destroyed;
    },
    close: () => socket.destroy(),
  };
  await peer.send(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]));
  return peer;
}
