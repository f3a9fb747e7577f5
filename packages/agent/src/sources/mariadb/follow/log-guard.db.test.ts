import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { MariadbServer, mariadbInstalled } from '../../../testing/mariadb-server.ts';
import { toLogPosition } from '../binlog/position.ts';
import { makeBase } from '../base.ts';
import { GuardFixture, mariadbSource, untilHolds } from '../testing/guard-fixture.ts';

describe('following a binary log of a real server', function () {
  this.timeout(90_000);
  let server: MariadbServer;
  let fixture: GuardFixture;

  before(async function () {
    if (!mariadbInstalled) this.skip();
    server = await MariadbServer.start(['--max-binlog-size=4M']);
    server.sql(
      'CREATE DATABASE shop; CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT, big LONGBLOB)',
    );
  });

  after(async () => server?.remove());

  beforeEach(() => {
    fixture = new GuardFixture();
  });

  afterEach(async () => fixture.remove());

  const insert = (rows: number, bytes = 100): void => {
    const row = `INSERT INTO orders (note) VALUES (REPEAT('x', ${bytes}));`;
    server.sql(row.repeat(rows), 'shop');
  };
  const position = () => {
    const [file = '', offset = ''] = server.sql('SHOW MASTER STATUS').split('\t');
    return toLogPosition({ file, offset: Number(offset) });
  };
  const caughtUp = () =>
    untilHolds(() => {
      expect(fixture.status?.stored?.order, fixture.status?.note).to.equal(position().order);
      expect(fixture.status?.lagBytes).to.equal(0);
    });
  const onDisk = (file: string) => readFileSync(join(server.dataDir, file));
  /** The current file ends, so that what is on disk is final. */
  const endFile = (): string => {
    const [file = ''] = server.sql('SHOW MASTER STATUS').split('\t');
    server.sql('FLUSH BINARY LOGS');
    return file;
  };

  it('G1 stores the files byte for byte, with large events, through a rotation', async () => {
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    insert(50);
    server.sql("INSERT INTO orders (big) VALUES (REPEAT('holdfast', 700000))", 'shop');
    const ended = endFile();
    insert(20);
    const second = endFile();
    await caughtUp();
    const files = fixture.files();
    expect(files.get(ended)?.equals(onDisk(ended))).to.equal(true);
    expect(files.get(second)?.equals(onDisk(second))).to.equal(true);
    expect(fixture.bases).to.have.length(1);
    const [gtid] = fixture.log.segments.at(-1)?.range.marks.filter((mark) => mark.startsWith('gtid=')) ?? [];
    expect(gtid).to.equal(`gtid=${server.sql('SELECT @@gtid_binlog_pos')}`);
  });

  it('takes no base of its own beside or after one that somebody else has asked for', async () => {
    const settings = { dsn: server.dsn, method: 'logical' };
    fixture.start(settings);
    const job = { kind: 'backup', jobId: 'a', source: mariadbSource(settings), fullRead: false } as const;
    await makeBase(job, fixture.deps, new AbortController().signal, () => undefined);
    await delay(3000);
    expect(fixture.status?.state).to.equal('following');
    expect(fixture.bases).to.have.length(0);
  });

  it('says a position and a lag of one moment, also when more was stored since', async () => {
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    const held = Promise.withResolvers<void>();
    fixture.log.beforeStore = () => held.promise;
    insert(500, 1000);
    const end = position();
    await untilHolds(() => expect(fixture.status?.lagBytes).to.be.greaterThan(500_000));
    // It answers nothing any more, and what it had sent is stored.
    process.kill(server.pid, 'SIGSTOP');
    held.resolve();
    await untilHolds(() => expect(fixture.log.segments.at(-1)?.range.end.order).to.equal(end.order));
    await server.kill();
    await untilHolds(() => expect(fixture.status?.state).to.equal('waiting'));
    const { stored, lagBytes } = fixture.status!;
    expect(stored!.order + BigInt(lagBytes)).to.equal(end.order);
    await server.run();
    await caughtUp();
  });

  it('G1 goes on without a gap after broken connections, a killed server, and a restart of the agent', async () => {
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    const begun = endFile();
    const loading = (async () => {
      for (let n = 0; n < 10; n++) {
        insert(20);
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (n % 3 === 0) fixture.log.disconnect();
      }
    })();
    await loading;
    await server.kill();
    await server.run();
    insert(10);
    await caughtUp();
    await fixture.stop();
    insert(10);
    fixture.start({ dsn: server.dsn });
    const ended = endFile();
    await caughtUp();
    const files = fixture.files();
    expect(files.get(begun)?.equals(onDisk(begun))).to.equal(true);
    expect(files.get(ended)?.equals(onDisk(ended))).to.equal(true);
    expect(fixture.log.gaps).to.deep.equal([]);
    expect(new Set(fixture.log.segments.map(({ range }) => range.stream.systemIdentifier)).size).to.equal(1);
  });

  it('G2 records a gap where the server purged what was not stored, and asks for a base', async () => {
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    await fixture.stop();
    const basesBefore = fixture.bases.length;
    insert(10);
    endFile();
    const [kept = ''] = server.sql('SHOW MASTER STATUS').split('\t');
    // A server does not purge what it still sends to somebody, also when that one has just left.
    await untilHolds(() => {
      server.sql(`PURGE BINARY LOGS TO '${kept}'`);
      expect(server.sql('SHOW BINARY LOGS').split('\t')[0]).to.equal(kept);
    });
    insert(10);
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    expect(fixture.log.gaps).to.have.length(1);
    expect(fixture.log.gaps[0]?.end).to.deep.equal(toLogPosition({ file: kept, offset: 0 }));
    await untilHolds(() => void expect(fixture.bases.length).to.be.greaterThan(basesBefore));
  });

  it('G2 begins another stream when the log was begun anew, also while it was followed', async () => {
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    const first = fixture.status?.stream;
    insert(5);
    await caughtUp();
    server.sql('RESET MASTER');
    insert(30);
    await untilHolds(() => void expect(fixture.status?.stream).to.not.deep.equal(first));
    await caughtUp();
    const ended = endFile();
    await caughtUp();
    expect(fixture.files().get(ended)?.equals(onDisk(ended))).to.equal(true);
    await untilHolds(() => void expect(fixture.bases.length).to.be.greaterThan(1));
  });

  it('G2 begins another stream when the log was begun anew within its first file, and nothing was written since', async () => {
    server.sql('RESET MASTER');
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    insert(5);
    await caughtUp();
    const first = fixture.status?.stream;
    server.sql('RESET MASTER');
    await untilHolds(() => void expect(fixture.status?.stream).to.not.deep.equal(first));
    await caughtUp();
    await untilHolds(() => void expect(fixture.bases.length).to.be.greaterThan(1));
  });

  it('tells what keeps it from following, and up to when a quiet server is stored', async () => {
    fixture.start({ dsn: server.dsn });
    await caughtUp();
    const before = fixture.status?.completeToMs ?? 0;
    await untilHolds(() => void expect(fixture.status?.completeToMs).to.be.greaterThan(before));
    // Also in the vault: an empty piece says so.
    await untilHolds(() => {
      const { range } = fixture.log.segments.at(-1) ?? {};
      expect(range?.end.order).to.equal(range?.start.order);
      expect(range?.completeToMs).to.be.greaterThan(0);
      expect(range?.marks.join()).to.match(/^clock=\d+@/);
    });
    await server.stop();
    await untilHolds(() => void expect(fixture.status?.state).to.equal('waiting'));
    await untilHolds(() => void expect(fixture.status?.note).to.contain('database server'));
    // Nobody knows what it wrote since: the time that would be lost grows.
    await untilHolds(() => void expect(fixture.status?.lagMs).to.be.greaterThan(1000));
    await server.run();
    await caughtUp();
  });

  it('holds back when the vault is slow, and loses nothing', async () => {
    let slow = true;
    fixture.log.beforeStore = () => (slow ? new Promise((resolve) => setTimeout(resolve, 100)) : undefined);
    fixture.start({ dsn: server.dsn });
    await untilHolds(() => void expect(fixture.status?.state).to.equal('following'));
    const files: string[] = [];
    for (let n = 0; n < 8; n++) {
      server.sql('INSERT INTO orders (big) VALUES (RANDOM_BYTES(1024)), (REPEAT(RANDOM_BYTES(1024), 3000))', 'shop');
      files.push(endFile());
    }
    slow = false;
    await caughtUp();
    for (const file of files) expect(fixture.files().get(file)?.equals(onDisk(file)), file).to.equal(true);
  });

  it('says so when a vault ends the session for good', async () => {
    fixture.log.beforeStore = () => {
      throw new HoldfastError('STORAGE_FULL', 'the vault is full');
    };
    fixture.start({ dsn: server.dsn });
    await untilHolds(() => void expect(fixture.status?.note).to.contain('the vault is full'));
    expect(fixture.status?.state).to.equal('waiting');
  });
});
