// The thread that writes a Redis database: dump.rdb, streamed as a replica would get it, and checked to its last byte.

import { runProducer } from '../../backup/producer/run-producer.ts';
import { madeEntry } from '../made-entries.ts';
import { RedisConnection } from './connection.ts';
import { parseDsn } from './dsn.ts';
import { RdbCheck } from './rdb-check.ts';

/** What a server looks for in its directory. */
const FILE = 'dump.rdb';

runProducer(async (writer, data, context) => {
  const connection = await RedisConnection.open(parseDsn(data as string), context.signal);
  try {
    const check = new RdbCheck();
    const file = writer.stream(FILE);
    await connection.streamDatabase((bytes) => {
      context.throwIfCancelled();
      check.add(bytes);
      file.write(bytes);
    });
    check.end();
    file.end(madeEntry(Date.now()));
  } finally {
    connection.close();
  }
});
