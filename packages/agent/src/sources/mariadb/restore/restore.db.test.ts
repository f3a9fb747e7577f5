import { expect } from 'chai';
import { chmodSync, existsSync, readdirSync } from 'node:fs';
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { MariadbServer, mariadbInstalled } from '../../../testing/mariadb-server.ts';
import { toLogPosition } from '../binlog/position.ts';
import { EngineFixture } from '../testing/engine-fixture.ts';
import { untilHolds } from '../testing/guard-fixture.ts';

const SCHEMA = `
CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(200), raw BLOB) ENGINE=InnoDB;
CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT) ENGINE=InnoDB;
INSERT INTO orders (note, raw) VALUES ('line\\nbreak -- Table structure for table \`x\`', UNHEX('00FF0A0D27')), ('ünïcode 🦊', NULL);
CREATE VIEW big_orders AS SELECT id, note FROM orders WHERE id > 1;
CREATE USER alice@localhost IDENTIFIED BY 'secret';
GRANT SELECT ON shop.* TO alice@localhost;
DELIMITER //
CREATE PROCEDURE add_order(IN what VARCHAR(200))
BEGIN
  -- Table structure for table \`audit\`
  INSERT INTO orders (note) VALUES (what);
END//
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW INSERT INTO audit (what) VALUES (NEW.note)//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DELETE FROM audit WHERE id < 0//
DELIMITER ;
`;

describe('bringing a MariaDB server back', function () {
  this.timeout(180_000);
  let server: MariadbServer;
  let fixture: EngineFixture;

  before(async function () {
    if (!mariadbInstalled) this.skip();
    server = await MariadbServer.start();
    server.sql(SCHEMA);
  });

  after(async () => server?.remove());

  afterEach(async () => fixture?.remove());

  const begin = (settings: Record<string, string> = {}): void => {
    fixture = new EngineFixture({ dsn: server.dsn, ...settings });
    fixture.follow();
  };
  const order = (note: string): void => void server.sql(`INSERT INTO orders (note) VALUES ('${note}')`, 'shop');
  const position = () => {
    const [file = '', offset = ''] = server.sql('SHOW MASTER STATUS').split('\t');
    return toLogPosition({ file, offset: Number(offset) });
  };
  const stored = () => untilHolds(() => void expect(fixture.guard.status?.stored?.order).to.equal(position().order));

  /** Asks a restored server, with its own accounts. */
  const ask = (socket: string, sql: string, user = 'root', password = ''): string => {
    const done = spawnSync(
      'mariadb',
      [
        '--no-defaults',
        `--socket=${socket}`,
        `--user=${user}`,
        '--batch',
        '--skip-column-names',
        '--default-character-set=utf8mb4',
      ],
      { input: sql, encoding: 'utf8', env: { ...process.env, MYSQL_PWD: password } },
    );
    if (done.status !== 0) throw new Error(done.stderr);
    return done.stdout.trimEnd();
  };
  /** Starts what was restored, asks, stops it. */
  const look = async <T>(directory: string, asking: (socket: string) => T): Promise<T> => {
    const { PrivateServer } = await import('./private-server.ts');
    const restored = await PrivateServer.start(
      directory,
      { extra: ['--skip-networking'], detached: false },
      new AbortController().signal,
    );
    try {
      return asking(restored.socket);
    } finally {
      await restored.stop();
    }
  };
  const notes = (directory: string) =>
    look(directory, (socket) => ask(socket, 'SELECT note FROM shop.orders ORDER BY id').split('\n').slice(2));

  for (const method of ['logical', 'physical']) {
    it(`everything comes back, ${method}: rows, views, routines, triggers, events, accounts; then what was committed later`, async () => {
      begin({ method });
      const base = await fixture.takeBase();
      order(`after the ${method} base`);
      server.sql('FLUSH BINARY LOGS');
      server.sql('CALL add_order("by the procedure")', 'shop');
      server.sql(
        `CREATE TABLE later_${method} (id INT PRIMARY KEY); INSERT INTO later_${method} VALUES (1), (2)`,
        'shop',
      );
      server.sql(
        `CREATE USER bob_${method}@localhost IDENTIFIED BY 'word'; GRANT SELECT ON shop.* TO bob_${method}@localhost`,
      );
      await stored();
      const { directory, report } = await fixture.restore(base, { kind: 'latest' });
      expect(report.reached?.position).to.deep.equal(position());
      expect(report.reached?.facts['gtid']).to.equal(server.sql('SELECT @@gtid_binlog_pos'));
      const questions = [
        'CHECKSUM TABLE shop.orders, shop.audit',
        'SELECT id, note, HEX(raw) FROM shop.orders ORDER BY id',
        'SELECT * FROM shop.big_orders ORDER BY id',
        'SHOW CREATE PROCEDURE shop.add_order',
        'SHOW CREATE TRIGGER shop.noted',
        'SHOW CREATE EVENT shop.nightly',
        `SELECT COUNT(*) FROM shop.later_${method}`,
      ];
      await look(directory, (socket) => {
        for (const question of questions)
          expect(strip(ask(socket, question)), question).to.equal(strip(server.sql(question)));
        expect(ask(socket, 'SELECT COUNT(*) > 0 FROM shop.orders', 'alice', 'secret')).to.equal('1');
        expect(ask(socket, 'SELECT COUNT(*) > 0 FROM shop.orders', `bob_${method}`, 'word')).to.equal('1');
      });
      expect(readdirSync(directory)).to.not.include('.holdfast-restore');
    });
  }

  for (const method of ['logical', 'physical']) {
    it(`a base made under load and the log make exactly what the server has, ${method}`, async () => {
      server.sql(
        `DROP TABLE IF EXISTS ledger, totals;
        CREATE TABLE ledger (id INT AUTO_INCREMENT PRIMARY KEY, amount INT, pad CHAR(200));
        CREATE TABLE totals (id INT PRIMARY KEY, amount INT);
        INSERT INTO totals VALUES (1, 0);
        INSERT INTO ledger (amount, pad) SELECT 0, SHA2(seq, 512) FROM seq_1_to_20000;`,
        'shop',
      );
      begin({ method });
      const loading = load();
      await delay(150);
      const base = await fixture.takeBase();
      const madeUnderLoad = loading.running;
      await loading.stop();
      await stored();
      expect(madeUnderLoad).to.equal(true);
      const { directory, report } = await fixture.restore(base, { kind: 'latest' });
      expect(Number(report.reached?.facts['transactions'])).to.be.greaterThan(0);
      const question =
        'CHECKSUM TABLE shop.ledger, shop.totals; SELECT SUM(amount) - (SELECT amount FROM shop.totals) FROM shop.ledger';
      const there = await look(directory, (socket) => ask(socket, question));
      expect(there).to.equal(server.sql(question));
      expect(there.split('\n').at(-1)).to.equal('0');
    });
  }

  /** Transactions over two tables, whose sums agree after each, until they are stopped. */
  function load(): { readonly running: boolean; stop(): Promise<void> } {
    const client = spawn('mariadb', ['--no-defaults', `--socket=${server.socket}`, '--user=root', 'shop'], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    const stopping = new AbortController();
    let running = true;
    function* transactions(): Generator<string> {
      for (let n = 0; !stopping.signal.aborted; n++) {
        yield (
          `START TRANSACTION; UPDATE totals SET amount = amount + ${n}; INSERT INTO ledger (amount, pad) VALUES (${n}, 'x');` +
          ` UPDATE ledger SET pad = SHA2(${n}, 512) WHERE id = ${1 + ((n * 7919) % 20_000)}; COMMIT;\n`
        );
      }
    }
    Readable.from(transactions()).pipe(client.stdin);
    const ended = new Promise<void>((resolve) => {
      client.once('exit', () => {
        running = false;
        resolve();
      });
    });
    return {
      get running() {
        return running;
      },
      stop() {
        stopping.abort();
        return ended;
      },
    };
  }

  it('T1 ends between two commits: by time, by GTID, by position; and refuses a GTID that was not reached', async () => {
    begin({ method: 'logical' });
    const base = await fixture.takeBase();
    const before = (await notesOfSource()).length;
    order('first');
    const firstGtid = server.sql('SELECT @@gtid_binlog_pos');
    const firstPosition = position();
    await stored();
    await delay(1100);
    const between = Date.now();
    await delay(1100);
    order('second');
    server.sql(
      "START TRANSACTION; INSERT INTO orders (note) VALUES ('third'); INSERT INTO orders (note) VALUES ('fourth'); COMMIT",
      'shop',
    );
    await stored();
    const upTo = async (target: Parameters<EngineFixture['restore']>[1]): Promise<string[]> =>
      (await notes((await fixture.restore(base, target)).directory)).slice(before);
    expect(await upTo({ kind: 'time', atMs: between })).to.deep.equal(['first']);
    expect(await upTo({ kind: 'gtid', gtid: firstGtid })).to.deep.equal(['first']);
    expect(await upTo({ kind: 'position', text: firstPosition.text })).to.deep.equal(['first']);
    const past = await fixture.restore(base, { kind: 'gtid', gtid: '0-7-999999' }).catch(String);
    expect(past).to.contain('before 0-7-999999');
  });

  const notesOfSource = async (): Promise<string[]> =>
    server.sql('SELECT note FROM shop.orders ORDER BY id').split('\n').slice(2);

  it('a server killed under load comes back with every acknowledged transaction that is stored, and no other', async () => {
    begin({ method: 'logical' });
    const base = await fixture.takeBase();
    server.sql(
      'CREATE TABLE acknowledged (id INT PRIMARY KEY, pad VARCHAR(100)); CREATE TABLE copies LIKE acknowledged',
      'shop',
    );
    // Where each acknowledged transaction ends.
    const ends: bigint[] = [];
    for (let n = 1; n <= 40; n++) {
      server.sql(
        `START TRANSACTION; INSERT INTO acknowledged VALUES (${n}, REPEAT('p', 50)); INSERT INTO copies SELECT * FROM acknowledged WHERE id = ${n}; COMMIT`,
        'shop',
      );
      ends.push(position().order);
      await delay(20);
    }
    await server.kill();
    await untilHolds(() => void expect(fixture.guard.status?.state).to.equal('waiting'));
    await fixture.guard.stop();
    const storedTo = fixture.guard.log.head(base.point.stream)?.end.order ?? 0n;
    const expected = ends.filter((end) => end <= storedTo).length;
    expect(expected).to.be.greaterThan(0);
    const { directory } = await fixture.restore(base, { kind: 'latest' });
    const [count, max, copies] = await look(directory, (socket) =>
      ask(socket, 'SELECT COUNT(*), MAX(id), (SELECT COUNT(*) FROM shop.copies) FROM shop.acknowledged')
        .split('\t')
        .map(Number),
    );
    expect({ count, max, copies }).to.deep.equal({ count: expected, max: expected, copies: expected });
    await server.run();
  });

  it('refuses a directory with something in it, and leaves it running when asked', async () => {
    begin({ method: 'logical' });
    const base = await fixture.takeBase();
    await stored();
    const { directory, report } = await fixture.restore(base, { kind: 'latest' }, { start: true });
    const pid = Number(readdirSync(directory).includes('holdfast.pid') ? readPid(directory) : 0);
    try {
      expect(report.reached).to.include({ running: true });
      const socket = /socket=(\S+)/.exec(report.reached?.connect ?? '')?.[1] ?? '';
      expect(ask(socket, 'SELECT COUNT(*) > 0 FROM shop.orders')).to.equal('1');
      const again = await fixture.restore(base, { kind: 'latest' }, {}, { target: directory }).catch(String);
      expect(again).to.contain('is not empty');
      const forced = await fixture
        .restore(base, { kind: 'latest' }, {}, { target: directory, intoNonEmpty: true })
        .catch(String);
      expect(forced).to.contain('a server runs on');
    } finally {
      process.kill(pid, 'SIGKILL');
      await untilHolds(() => void expect(existsSync(`/proc/${pid}`) && !isZombie(pid)).to.equal(false));
    }
  });

  it('ends before a damaged piece of the log with a sentence that names it, and leaves no server and no scratch', async () => {
    begin({ method: 'logical' });
    const base = await fixture.takeBase();
    order('before the damage');
    await stored();
    const damaged = fixture.guard.log.segments.find(({ range }) => range.end.order > base.point.end.order);
    const envelope = damaged?.envelope ?? Buffer.alloc(0);
    envelope[envelope.length - 1] = (envelope.at(-1) ?? 0) ^ 1;
    const target = join(fixture.guard.stateDir, 'target');
    chmodSync(fixture.guard.stateDir, 0o711);
    const failed = await fixture.restore(base, { kind: 'latest' }, {}, { target }).catch(String);
    expect(failed).to.match(/the stored log from mysql-bin\.\d+:\d+ to mysql-bin\.\d+:\d+ is damaged/);
    expect(readdirSync(target)).to.not.include.members(['.holdfast-restore']);
    expect(existsSync(join(target, 'holdfast.pid')) && existsSync(`/proc/${readPid(target)}`)).to.equal(false);
  });

  it('a restore test asks the restored server, and leaves nothing behind', async () => {
    begin({ method: 'logical' });
    const base = await fixture.takeBase();
    await stored();
    const good = await fixture.restoreTest(base, { 'verify-query': 'SELECT COUNT(*) FROM shop.orders' });
    expect(good.failure).to.equal(undefined);
    expect(good.reached?.facts['query']).to.equal(server.sql('SELECT COUNT(*) FROM shop.orders'));
    const bad = await fixture.restoreTest(base, { 'verify-query': 'SELECT 1 FROM shop.orders WHERE id < 0' });
    expect(bad.failure?.message).to.contain('no rows');
    const { tmpdir } = await import('node:os');
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('holdfast-restore-test-'))).to.deep.equal([]);
  });
});

function strip(text: string): string {
  // A trigger's time of creation is that of the restored one.
  return text.replaceAll(/ (AUTO_INCREMENT|DEFINER)=\S+|\d{4}-\d\d-\d\d [\d:.]+$/gm, '');
}

function readPid(directory: string): string {
  return spawnSync('cat', [join(directory, 'holdfast.pid')], { encoding: 'utf8' }).stdout.trim();
}

function isZombie(pid: number): boolean {
  return spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout.startsWith('Z');
}
