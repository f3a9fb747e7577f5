import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, mkdirSync, chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import pg from 'pg';

import { startEmbeddedPostgres } from './embedded-postgres.ts';
import { choosePostgresUser } from './postgres-binaries.ts';

async function query<T extends pg.QueryResultRow>(connection: pg.ClientConfig, sql: string): Promise<T[]> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    return (await client.query<T>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('embedded PostgreSQL', function () {
  this.timeout(60_000);
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-test-postgres-'));
    chmodSync(directory, 0o755);
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('EP1 EP3 after SIGKILL of its parent the server is adopted with every row, and stop() ends it', async () => {
    const parent = join(directory, 'parent.ts');
    const program = `
      import { startEmbeddedPostgres } from ${JSON.stringify(new URL('./embedded-postgres.ts', import.meta.url).href)};
      import pg from ${JSON.stringify(import.meta.resolve('pg'))};
      const server = await startEmbeddedPostgres({ directory: ${JSON.stringify(join(directory, 'pg'))} });
      const client = new pg.Client(server.connection);
      await client.connect();
      await client.query('create table t (n int)');
      await client.query('insert into t select generate_series(1, 100)');
      process.send(server.pid);
      setInterval(() => undefined, 1000);`;
    writeFileSync(parent, program);
    const child = fork(parent, { execArgv: ['--conditions=holdfast-source', '--disable-warning=ExperimentalWarning'] });
    const [pid] = (await once(child, 'message')) as [number];
    child.kill('SIGKILL');
    await once(child, 'exit');

    const adopted = await startEmbeddedPostgres({ directory: join(directory, 'pg') });
    expect(adopted.adopted).to.equal(true);
    expect(adopted.pid).to.equal(pid);
    expect(await query(adopted.connection, 'select count(*)::int as n from t')).to.deep.equal([{ n: 100 }]);
    await adopted.stop();
    expect(existsSync(join(directory, 'pg', 'data', 'postmaster.pid'))).to.equal(false);
  });

  it('EP2 a stale pid file that names another process does not stop a start, and that process is left alone', async () => {
    const first = await startEmbeddedPostgres({ directory });
    const pidFile = join(directory, 'data', 'postmaster.pid');
    const text = readFileSync(pidFile, 'utf8');
    await first.stop();
    writeFileSync(pidFile, text.replace(/^\d+/, String(process.pid)));
    const second = await startEmbeddedPostgres({ directory });
    expect(second.adopted).to.equal(false);
    await second.stop();
  });

  it('listens on no network address, and asks for its password', async () => {
    const server = await startEmbeddedPostgres({ directory });
    const [row] = await query<{ listen_addresses: string }>(server.connection, 'show listen_addresses');
    expect(row?.listen_addresses).to.equal('');
    const wrong = await query({ ...server.connection, password: 'guess' }, 'select 1').catch(
      (error: Error) => error.message,
    );
    expect(wrong).to.match(/password authentication failed/);
    await server.stop();
  });

  it('works below a directory that is closed to others, and with a path too long for a socket', async function () {
    if (process.getuid?.() !== 0) this.skip();
    const closed = join(directory, 'closed', 'x'.repeat(120));
    mkdirSync(closed, { recursive: true });
    chmodSync(join(directory, 'closed'), 0o700);
    const server = await startEmbeddedPostgres({ directory: closed });
    expect(await query(server.connection, 'select 1 as one')).to.deep.equal([{ one: 1 }]);
    expect(Buffer.byteLength(server.connection.host)).to.be.lessThan(100);
    await server.stop();
  });

  it('as root it runs as the first user that the machine has for it, never as root', function () {
    if (process.getuid?.() !== 0) this.skip();
    expect(choosePostgresUser('root:x:0:0::/:\nnobody:x:65534:65534::/:\npostgres:x:101:104::/:')).to.deep.equal({
      uid: 101,
      gid: 104,
    });
    expect(() => choosePostgresUser('root:x:0:0::/:\n')).to.throw(/refuses to run as root/);
  });
});
