import { expect } from 'chai';
import pg from 'pg';

import { createTestDatabase, openTestCatalog } from '../testing/test-catalog.ts';
import { connectCatalog, type Catalog } from './catalog.ts';
import { migrate, readMigrations, type Migration } from './migrations.ts';

describe('catalog', () => {
  let catalog: Catalog & { connection: pg.ClientConfig };
  beforeEach(async () => (catalog = await openTestCatalog()));
  afterEach(() => catalog.close());

  it('gives bigint as exact numbers, and refuses what a number can’t hold', async () => {
    const { rows } = await catalog.pool.query(
      'select 9007199254740991::int8 as most, sum(x)::int8 as s from (values (1), (2)) v(x)',
    );
    expect(rows).to.deep.equal([{ most: Number.MAX_SAFE_INTEGER, s: 3 }]);
    const beyond = await catalog.pool
      .query('select 9007199254740993::int8 as n')
      .catch((error: Error) => error.message);
    expect(beyond).to.contain('beyond');
  });

  it('rolls a transaction back when its work throws', async () => {
    const work = catalog.transaction(async (client) => {
      await client.query(`insert into controller_secret (name, wrapped) values ('x', '')`);
      throw new Error('no');
    });
    expect(await work.catch((error: Error) => error.message)).to.equal('no');
    expect((await catalog.pool.query('select 1 from controller_secret')).rowCount).to.equal(0);
  });

  it('a connection that the server ends in the middle of a transaction fails that transaction, and nothing else', async () => {
    const work = catalog.transaction(async (client) => {
      const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
      const ended = Promise.withResolvers<void>();
      client.once('end', ended.resolve);
      await catalog.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
      await ended.promise;
      await client.query('select 1');
    });
    expect(await work.catch((error: Error) => error)).to.be.an('error');
    expect((await catalog.pool.query('select 1')).rowCount).to.equal(1);
  });

  it('hears notifications again after its connection broke', async () => {
    const heard: string[] = [];
    const resumed = Promise.withResolvers<void>();
    const stop = await catalog.listen(
      'things',
      (payload) => heard.push(payload),
      () => resumed.resolve(),
    );
    await catalog.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holdfast-listen' and datname = current_database()`,
    );
    await resumed.promise;
    await catalog.pool.query(`select pg_notify('things', 'again')`);
    for (let i = 0; i < 200 && heard.length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(heard).to.deep.equal(['again']);
    await stop();
  });
});

describe('migrations', () => {
  const migration = (number: number, sql: string): Migration => ({
    number,
    name: `00${number}-x.sql`,
    sql,
    checksum: sql,
  });
  let pool: pg.Pool;
  let connection: pg.ClientConfig;
  beforeEach(async () => {
    connection = await createTestDatabase();
    pool = new pg.Pool(connection);
  });
  afterEach(() => pool.end());

  it('MG1 run once when several controllers start at once', async () => {
    const catalogs = await Promise.all(Array.from({ length: 4 }, () => connectCatalog(connection)));
    const { rows } = await pool.query<{ n: string }>('select count(*) as n from migration');
    expect(Number(rows[0]?.n)).to.equal(readMigrations().length);
    await Promise.all(catalogs.map((catalog) => catalog.close()));
  });

  it('MG1 a file that fails leaves nothing of itself, and the next start goes on from there', async () => {
    const good = migration(1, 'create table a (x int)');
    const failed = await migrate(pool, [good, migration(2, 'create table b (x int); select 1/0')]).catch(
      (error: Error) => error.message,
    );
    expect(failed).to.contain('002-x.sql failed');
    expect((await pool.query(`select to_regclass('a') as a, to_regclass('b') as b`)).rows).to.deep.equal([
      { a: 'a', b: null },
    ]);
    await migrate(pool, [good, migration(2, 'create table b (x int)')]);
    expect((await pool.query(`select to_regclass('b') as b`)).rows).to.deep.equal([{ b: 'b' }]);
  });

  it('MG2 refuses a changed file and a catalog that is newer than the program', async () => {
    await migrate(pool, [migration(1, 'select 1'), migration(2, 'select 2')]);
    const changed = await migrate(pool, [migration(1, 'select 1'), migration(2, 'select 3')]).catch(
      (error: Error) => error.message,
    );
    expect(changed).to.contain('differs');
    const older = await migrate(pool, [migration(1, 'select 1')]).catch((error: Error) => error.message);
    expect(older).to.contain('does not know');
  });
});
