import { expect } from 'chai';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { silentLog } from '@holdfast/shared/runtime/log';
import { systemClock } from '@holdfast/shared/runtime/clock';
import type { Finding } from '../../jobs/job.ts';
import { MariadbServer, mariadbInstalled } from '../../testing/mariadb-server.ts';
import { followBases } from '../bases/base-registry.ts';
import { discoverServers } from './look/discover.ts';
import { checkServer } from './look/check.ts';
import { EngineFixture } from './testing/engine-fixture.ts';
import { mariadbSource } from './testing/guard-fixture.ts';

const LEAST = 'SELECT, RELOAD, PROCESS, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, REPLICATION SLAVE, BINLOG MONITOR';

describe('bases of a MariaDB server, and what a check says', function () {
  this.timeout(90_000);
  let server: MariadbServer;
  let fixture: EngineFixture;
  let defaultsFile: string;

  before(async function () {
    if (!mariadbInstalled) this.skip();
    server = await MariadbServer.start();
    server.sql(`
      CREATE DATABASE shop; USE shop;
      CREATE TABLE fixed (id INT AUTO_INCREMENT PRIMARY KEY, text CHAR(64)) ENGINE=InnoDB;
      INSERT INTO fixed (text) SELECT SHA2(seq, 256) FROM seq_1_to_20000;
      CREATE TABLE moving (id INT PRIMARY KEY) ENGINE=InnoDB;
      CREATE USER holdfast@localhost IDENTIFIED BY 'a "quoted" word';
      GRANT ${LEAST} ON *.* TO holdfast@localhost;
      CREATE USER nobody@localhost;`);
    defaultsFile = join(server.directory, 'holdfast.cnf');
    writeFileSync(defaultsFile, `[client]\nuser = holdfast\npassword = "a \\"quoted\\" word"\n`, { mode: 0o600 });
  });

  after(async () => server?.remove());

  afterEach(async () => fixture?.remove());

  const begin = (method = 'logical'): void => {
    fixture = new EngineFixture({ dsn: `socket=${server.socket} defaults-file=${defaultsFile}`, method });
    fixture.follow();
  };
  const check = (settings: Record<string, string>): Promise<readonly Finding[]> =>
    checkServer(mariadbSource(settings), { clock: systemClock, log: silentLog, signal: new AbortController().signal });

  it('an unchanged table costs nothing, with the least rights and a password from a file', async () => {
    begin();
    await fixture.takeBase();
    server.sql('INSERT INTO moving SELECT seq FROM seq_1_to_1000', 'shop');
    const { report, point } = await fixture.takeBase();
    const { bytesTotal, bytesNew } = report.summary;
    expect(bytesTotal).to.be.greaterThan(3_000_000);
    // The table that changed, and the header with the position.
    expect(bytesNew).to.be.lessThan(100_000);
    expect(report.warnings).to.deep.equal([]);
    expect(point.gtid).to.match(/^0-7-\d+$/);
    expect(point.hasLog).to.equal(true);
  });

  it('names tables that are not transactional, as a warning of the snapshot and of the check', async () => {
    server.sql('CREATE TABLE shop.counters (id INT) ENGINE=MyISAM');
    try {
      begin();
      const { report } = await fixture.takeBase();
      expect(report.warnings.map(({ message }) => message).join()).to.contain('shop.counters (MyISAM)');
      const found = (await check({ dsn: server.dsn })).find(({ subject }) => subject === 'tables');
      expect(found?.level).to.equal('warning');
      expect(found?.remedy).to.equal('ALTER TABLE shop.counters ENGINE=InnoDB;');
    } finally {
      server.sql('DROP TABLE shop.counters');
    }
  });

  it('a schema that changes during a dump makes it start over; one that never stands still is an error in the end', async function () {
    begin();
    let changes = 0;
    let limit = 1;
    const changing = setInterval(() => {
      if (changes >= limit) return;
      changes++;
      server.sql(`CREATE TABLE made_${changes} (id INT)`, 'shop');
    }, 50);
    try {
      await fixture.takeBase();
      expect(changes).to.equal(1);
      expect(fixture.vault.snapshots).to.have.length(1);
      const order = fixture.vault.contents(fixture.keys);
      expect([...order.keys()]).to.include('dump/shop/made_1.sql');
      limit = 10_000;
      const failed = await fixture.takeBase().catch(String);
      expect(failed).to.match(/while (it was|they were) dumped/);
      expect(fixture.vault.snapshots).to.have.length(1);
    } finally {
      clearInterval(changing);
    }
  });

  it('a cancelled base ends the dump program and leaves no snapshot', async () => {
    begin();
    server.sql(
      'CREATE TABLE wide (id INT PRIMARY KEY, text TEXT); INSERT INTO wide SELECT seq, REPEAT(SHA2(seq, 512), 20) FROM seq_1_to_30000',
      'shop',
    );
    const cancelling = new AbortController();
    setTimeout(() => cancelling.abort(), 300);
    const failed = await fixture.takeBase({}, cancelling.signal).catch(String);
    expect(failed).to.contain('cancelled');
    expect(fixture.vault.snapshots).to.deep.equal([]);
    expect(
      server.sql(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%shop%wide%' AND ID <> CONNECTION_ID()",
      ),
    ).to.equal('0');
    server.sql('DROP TABLE shop.wide');
  });

  it('a base ends when its source becomes another server, and leaves no snapshot', async () => {
    begin();
    const taking = fixture.takeBase().catch((error: unknown) => error);
    await delay(30);
    const unfollow = followBases(fixture.source.sourceId, 'elsewhere', () => undefined);
    const failed: unknown = await taking;
    unfollow();
    expect(failed).to.include({ code: 'FAILED_PRECONDITION', message: 'the source is not this server any more' });
    expect(fixture.vault.snapshots).to.deep.equal([]);
  });

  it('is discovered by its socket, with the command that protects it', async () => {
    const found = await discoverServers({ clock: systemClock, log: silentLog, signal: new AbortController().signal });
    const mine = found.find(({ settings }) => settings['dsn']?.includes(server.socket) === true);
    expect(mine?.type).to.equal('mariadb');
    expect(mine?.description).to.match(/MariaDB|without a password/);
    expect(mine?.command).to.contain(`--type mariadb --dsn 'socket=${server.socket}`);
  });

  it('a check finds nothing wrong with a good server', async () => {
    const findings = await check({ dsn: `socket=${server.socket} defaults-file=${defaultsFile}` });
    expect(findings.filter(({ level }) => level !== 'ok')).to.deep.equal([]);
    expect(findings.map(({ subject }) => subject)).to.include.members([
      'connection',
      'rights',
      'sync_binlog',
      'gtid',
      'tools',
    ]);
  });

  it('a check says word for word what to run: rights, settings, a server that is away, a DSN that is wrong', async () => {
    const poor = await check({ dsn: `socket=${server.socket} user=nobody` });
    expect(poor.find(({ subject }) => subject === 'rights')?.remedy).to.equal(
      `GRANT ${LEAST} ON *.* TO 'nobody'@'localhost';`,
    );
    server.sql(
      'SET GLOBAL sync_binlog = 0; SET GLOBAL innodb_flush_log_at_trx_commit = 2; SET GLOBAL binlog_format = MIXED',
    );
    try {
      const loose = (await check({ dsn: server.dsn })).filter(({ level }) => level === 'warning');
      expect(loose.map(({ remedy }) => remedy)).to.have.members([
        'SET GLOBAL binlog_format = ROW;',
        'SET GLOBAL sync_binlog = 1;',
        'SET GLOBAL innodb_flush_log_at_trx_commit = 1;',
      ]);
    } finally {
      server.sql(
        'SET GLOBAL sync_binlog = 1; SET GLOBAL innodb_flush_log_at_trx_commit = 1; SET GLOBAL binlog_format = ROW',
      );
    }
    const [away] = await check({ dsn: 'socket=/nowhere/mysqld.sock user=root' });
    expect(away).to.include({ level: 'error', subject: 'connection' });
    const [secret] = await check({ dsn: `socket=${server.socket} password=word` });
    expect(secret?.message).to.contain('a password does not belong into the DSN');
    expect(JSON.stringify(secret)).to.not.contain('=word');
  });
});
