import { expect } from 'chai';
import { MariadbServer, mariadbInstalled } from '../../../testing/mariadb-server.ts';
import { PostgresServer } from '../../../testing/postgres-server.ts';
import type { Look } from './look-target.ts';
import { lookAtDatabase } from './sql-look.ts';

interface Asked {
  readonly query: string;
  readonly maxAgeMs?: number;
}

const SECOND = 1000;

function sameOfBoth(look: (asked: Asked) => Promise<Look>): void {
  it('says the first value of the first row, and that nothing came', async () => {
    expect(await look({ query: 'SELECT 42, 43' })).to.include({ well: true, message: 'the query answers 42' });
    expect(await look({ query: 'SELECT NULL' })).to.include({ well: true, message: 'the query answers NULL' });
    const none = await look({ query: 'SELECT at FROM orders WHERE id < 0' });
    expect(none).to.include({ well: false, message: 'the query has no row' });
  });

  it('holds the age of a time against what it may be, by the server’s clock and time zone', async () => {
    const fresh = await look({ query: 'SELECT max(at) FROM orders WHERE id = 1', maxAgeMs: 60 * SECOND });
    expect(fresh, fresh.message).to.include({ well: true });
    expect(Number(fresh.facts['age-ms'])).to.be.within(0, 60 * SECOND);
    const old = await look({ query: 'SELECT max(at) FROM orders WHERE id = 2', maxAgeMs: 60 * SECOND });
    expect(old, old.message).to.include({ well: false });
    expect(Number(old.facts['age-ms'])).to.be.within(3600 * SECOND, 3700 * SECOND);
    expect(old.message).to.match(/ is 36\d\d\.\d s old, more than 60 s$/);
  });

  it('takes seconds and milliseconds since 1970 for a time', async () => {
    const now = Date.now();
    for (const value of [Math.floor(now / 1000), now]) {
      expect(await look({ query: `SELECT ${value}`, maxAgeMs: 60 * SECOND })).to.include({ well: true });
      const small = value - (value === now ? 90 * SECOND : 90);
      expect(await look({ query: `SELECT ${small}`, maxAgeMs: 60 * SECOND })).to.include({ well: false });
    }
  });

  it('is not well for what is no time, for what can’t be asked, and for nobody there', async () => {
    expect(await look({ query: "SELECT 'well'", maxAgeMs: SECOND })).to.include({ well: false });
    const wrong = await look({ query: 'SELECT x FROM nowhere' });
    expect(wrong).to.include({ well: false });
    expect(wrong.message).to.match(/nowhere/);
  });

  it('changes nothing', async () => {
    expect(await look({ query: 'DELETE FROM orders' })).to.include({ well: false });
    expect(await look({ query: 'SELECT count(*) FROM orders' })).to.include({ message: 'the query answers 2' });
  });
}

const TABLE = (time: string): string => `CREATE TABLE orders (id int PRIMARY KEY, at ${time})`;

describe('check.sql', () => {
  const { signal } = new AbortController();

  describe('of PostgreSQL', () => {
    let server: PostgresServer;
    before(async function start() {
      this.timeout(60_000);
      server = await PostgresServer.start();
      await server.query(TABLE('timestamptz'));
      await server.query("INSERT INTO orders VALUES (1, now()), (2, now() - interval '1 hour')");
    });
    after(async () => await server.remove());

    sameOfBoth((asked) =>
      lookAtDatabase({ kind: 'sql', engine: 'postgres', settings: { dsn: server.dsn }, ...asked }, signal),
    );

    it('says where nobody is', async () => {
      const settings = { dsn: 'host=/nowhere user=holdfast' };
      const found = await lookAtDatabase({ kind: 'sql', engine: 'postgres', settings, query: 'SELECT 1' }, signal);
      expect(found).to.include({ well: false });
      expect(found.message).to.match(/nowhere/);
    });
  });

  describe('of MariaDB', () => {
    let server: MariadbServer | undefined;
    before(async function start() {
      this.timeout(60_000);
      if (!mariadbInstalled) this.skip();
      server = await MariadbServer.start();
      server.sql(`CREATE DATABASE shop; USE shop; ${TABLE('timestamp(3) NULL')};
        INSERT INTO orders VALUES (1, NOW(3)), (2, NOW(3) - INTERVAL 1 HOUR)`);
    });
    after(async () => await server?.remove());

    sameOfBoth(({ query, ...asked }) => {
      const own = query.replaceAll(/orders|nowhere/g, 'shop.$&');
      const settings = { dsn: server?.dsn ?? '' };
      return lookAtDatabase({ kind: 'sql', engine: 'mariadb', settings, query: own, ...asked }, signal);
    });
  });

  it('asks no other engine', async () => {
    const found = await lookAtDatabase({ kind: 'sql', engine: 'redis', settings: {}, query: 'SELECT 1' }, signal);
    expect(found).to.include({ well: false, message: "a redis source can't be asked by check.sql" });
  });
});
