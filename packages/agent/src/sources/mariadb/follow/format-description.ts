// The first event of a server's binary log: how its events are laid out. A replay from the middle of a file needs it, so a base
// carries it, and no byte of the log before the base is needed.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { randomInt } from 'node:crypto';
import { EVENT_HEADER_BYTES, EventType } from '../binlog/event-reader.ts';
import { BINLOG_MAGIC } from '../binlog/position.ts';
import type { Login } from '../dsn.ts';
import { ServerSession } from '../protocol/server-session.ts';

const MAX_BYTES = 4096;
const SILENT_MS = 30_000;

/** The event as it stands at the beginning of `file`. Throws UNREACHABLE, FAILED_PRECONDITION (no right, no such file), CANCELLED. */
export async function readFormatDescription(login: Login, file: string, signal: AbortSignal): Promise<Buffer> {
  const server = await ServerSession.open(login, signal);
  try {
    await server.query(
      'SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum',
    );
    await server.query('SET @mariadb_slave_capability = 4');
    server.endAfterMs(SILENT_MS);
    const found = Promise.withResolvers<Buffer>();
    found.promise.catch(() => undefined);
    let packet = Buffer.alloc(0);
    await server.followBinlog({
      serverId: 0x7000_0000 + randomInt(0x0fff_ffff),
      file,
      offset: BINLOG_MAGIC.length,
      stream: {
        onPart(part, last) {
          if (packet.length <= MAX_BYTES) packet = Buffer.concat([packet, part]);
          if (!last) return;
          const isIt =
            packet.length > EVENT_HEADER_BYTES && packet[0] === 0 && packet[5] === EventType.formatDescription;
          if (isIt) found.resolve(packet.subarray(1));
          else if (packet[0] !== 0)
            found.reject(new HoldfastError('FAILED_PRECONDITION', `the server does not send ${file}`));
          packet = Buffer.alloc(0);
        },
        onEnd: (error) => found.reject(error),
      },
    });
    return await found.promise;
  } finally {
    server.close();
  }
}
