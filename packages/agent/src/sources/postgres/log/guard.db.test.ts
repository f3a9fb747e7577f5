import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { PostgresServer } from '../../../testing/postgres-server.ts';
import { walFileName } from './lsn.ts';
import { LogFixture, until } from './testing/log-fixture.ts';

const FILE = 16 * 1024 * 1024;
const SETTINGS = { max_wal_size: '4GB', wal_keep_size: '4GB' };

describe('guard over a log', () => {
  let server: PostgresServer;
  let fixture: LogFixture;

  before(async () => {
    server = await PostgresServer.start({ settings: SETTINGS });
    server.fillPgbench(2);
  });
  after(async () => server.remove());
  beforeEach(() => {
    fixture = new LogFixture(server);
  });
  afterEach(async () => {
    await fixture.remove();
    await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots');
  });

  /** The stored bytes are those of the server's own files. */
  const expectServersBytes = (timeline = 1): void => {
    const { start, end, bytes } = fixture.stored(timeline);
    expect(start % BigInt(FILE), 'a run begins with a file').to.equal(0n);
    for (let at = start; at < end; at += BigInt(FILE)) {
      const file = readFileSync(join(server.dataDir, 'pg_wal', walFileName(timeline, at, FILE)));
      const length = Math.min(FILE, Number(end - at));
      const offset = Number(at - start);
      expect(
        file.subarray(0, length).equals(bytes.subarray(offset, offset + length)),
        walFileName(timeline, at, FILE),
      ).to.equal(true);
    }
  };

  it('R1 stores the log byte for byte while the server is under load, and asks for a first base', async () => {
    fixture.start();
    const load = server.pgbench(['-c', '4', '-T', '4']);
    await load.ended;
    await fixture.caughtUp();
    expectServersBytes();
    expect(fixture.backups).to.have.length(1);
    await until(() => fixture.last?.log?.lagBytes === 0);
    expect(fixture.last?.log).to.deep.include({ state: 'following', note: '' });
  });
});
