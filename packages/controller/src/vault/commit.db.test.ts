import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { faultyCatalog } from '../testing/faulty-catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  answersOf,
  backUp,
  beginOn,
  codeOf,
  commitOn,
  newHost,
  node,
  openTestVault,
  plainOf,
  readSnapshot,
  record,
  send,
  snapshotOf,
  type TestHost,
  type TestObject,
} from '../testing/vault-fixture.ts';
import type { BackupStream, Vault } from './contract.ts';

describe('sessions and commit', () => {
  const host = newHost();
  const other = newHost(host.caller.domainId);
  const objects = snapshotOf(host, ['one', 'two'], 'first');
  const recordId = objects.at(-1)!.id;
  let catalog: Catalog;
  let disk: MemoryDisk;
  let vault: Vault;

  const open = (faults = new Faults(), limits = {}): Promise<Vault> =>
    openTestVault({
      catalog: faultyCatalog(catalog, faults),
      storage: disk.mount(faults),
      hosts: [host, other],
      limits,
    });

  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    vault = await open();
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  /** A session with everything sent and nothing committed. */
  const sent = async (on: Vault, who: TestHost, all: readonly TestObject[] = objects): Promise<BackupStream> => {
    const stream = await beginOn(on, who);
    for (const object of all) await send(stream, object);
    return stream;
  };
  const snapshots = async (): Promise<number> => (await catalog.pool.query('select 1 from snapshot')).rows.length;
  const expire = (stream: BackupStream): Promise<unknown> =>
    catalog.pool.query(`update vault_session set expires_at = now() - interval '1 second' where id = $1`, [
      stream.began.sessionId,
    ]);

  it('threat 15 the same record committed again by its session is answered the same, over a new stream, after a restart', async () => {
    const stream = await sent(vault, host);
    await commitOn(stream, recordId, 1);
    const { sessionId } = stream.began;
    const [first] = (await answersOf(stream)).filter((answer) => answer.kind === 'committed');
    for (const restart of [false, true]) {
      if (restart) {
        await vault.stop();
        vault = await open();
      }
      const again = await beginOn(vault, host, { sessionId });
      await commitOn(again, recordId, 1);
      expect((await answersOf(again)).at(-1)).to.deep.equal(first);
    }
    expect(await snapshots()).to.equal(1);
  });

  it('threat 15 whichever call of a commit fails or dies, committing again gives one snapshot', async () => {
    for (const kind of ['fail', 'die'] as const) {
      for (let after = 1; ; after++) {
        await catalog.pool.query('truncate pack, object, snapshot, vault_session, vault_writer');
        await catalog.pool.query('update vault_collection set target_id = null');
        await vault.stop();
        disk = new MemoryDisk();
        const counting = new Faults();
        vault = await open(counting);
        const { sessionId } = (await sent(vault, host)).began;
        await vault.stop();

        const opening = new Faults();
        vault = await open(opening);
        await vault.stop();
        const calls = opening.calls.length;
        const faults = new Faults(
          kind === 'die' ? { kind, at: calls + after } : { kind, at: calls + after, lasting: false, errno: 'EIO' },
        );
        vault = await open(faults);
        await beginOn(vault, host, { sessionId })
          .then((stream) => commitOn(stream, recordId, 1))
          .catch(() => undefined);
        await vault.stop().catch(() => undefined);

        if (kind === 'die') disk = disk.afterPowerCut(0.5);
        vault = await open();
        const again = await beginOn(vault, host, { sessionId });
        await commitOn(again, recordId, 1);
        expect((await answersOf(again)).at(-1)!.kind).to.equal('committed');
        expect(await snapshots(), `${kind} ${after}`).to.equal(1);
        expect(await readSnapshot(vault, host, recordId)).to.deep.equal(plainOf(host, objects));
        if (!faults.hit) break;
      }
    }
  });

  it('threat 19 a commit before the record, or of a record that another session sent, is refused', async () => {
    const early = await sent(vault, host, objects.slice(0, -1));
    expect(await codeOf(commitOn(early, recordId, 1))).to.equal('NOT_FOUND');
    const stream = await sent(vault, host);
    const theft = await beginOn(vault, other);
    // It is durable by now, and this host knows its id.
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === objects.length) break;
    expect(await codeOf(commitOn(theft, recordId, 1))).to.equal('NOT_FOUND');
    expect(await snapshots()).to.equal(0);
  });

  it('I6 an expired session can neither commit nor go on', async () => {
    const stream = await sent(vault, host);
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === objects.length) break;
    const second = await beginOn(vault, host, { sessionId: stream.began.sessionId });
    await expire(stream);
    expect(await codeOf(commitOn(second, recordId, 1))).to.equal('SESSION_ENDED');
    expect(await codeOf(beginOn(vault, host, { sessionId: stream.began.sessionId }))).to.equal('SESSION_ENDED');
    expect(await snapshots()).to.equal(0);
  });

  it("threat 44 another host's session, an unknown one and a used one are refused", async () => {
    const stream = await sent(vault, host);
    const { sessionId } = stream.began;
    const steal = { sourceId: other.sourceId, jobId: '', sessionId, baseSnapshotId: new Uint8Array(0) };
    expect(await codeOf(vault.beginBackup(other.caller, steal))).to.equal('SESSION_ENDED');
    expect(await codeOf(vault.beginBackup(other.caller, { ...steal, sourceId: host.sourceId }))).to.equal('NOT_FOUND');
    expect(await codeOf(beginOn(vault, host, { sessionId: 'no-such-session' }))).to.equal('SESSION_ENDED');

    await commitOn(stream, recordId, 1);
    const replay = await beginOn(vault, host, { sessionId });
    expect(await codeOf(send(replay, objects[0]!))).to.equal('SESSION_ENDED');
    const other2 = record(host, objects.at(-2)!, 'another');
    const replay2 = await beginOn(vault, host, { sessionId });
    expect(await codeOf(commitOn(replay2, other2.id, 2))).to.equal('SESSION_ENDED');
  });

  it('threat 21 when two streams go on with one session, only the newer one can commit', async () => {
    const stream = await sent(vault, host);
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === objects.length) break;
    const older = await beginOn(vault, host, { sessionId: stream.began.sessionId });
    const newer = await beginOn(vault, host, { sessionId: stream.began.sessionId });
    expect(await codeOf(commitOn(older, recordId, 1))).to.equal('SESSION_ENDED');
    await commitOn(newer, recordId, 1);
    expect(await snapshots()).to.equal(1);
  });

  it('threat 20 a session goes on after a restart of the controller, with what it had sent', async () => {
    const stream = await sent(vault, host);
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === objects.length) break;
    await vault.stop();
    vault = await open();
    const next = await beginOn(vault, host, { sessionId: stream.began.sessionId });
    await commitOn(next, recordId, 1);
    expect(await readSnapshot(vault, host, recordId)).to.deep.equal(plainOf(host, objects));
  });

  it('threat 21 a host that crashes again and again goes on: a new session ends the dead ones of its source, and no other', async () => {
    await vault.stop();
    vault = await open(new Faults(), { sessionsPerHost: 3 });
    const crashed: string[] = [];
    for (let times = 0; times < 8; times++) {
      const stream = await sent(vault, host);
      crashed.push(stream.began.sessionId);
      stream.close();
    }
    const live = async (): Promise<string[]> =>
      (
        await catalog.pool.query<{ id: string }>(
          `select id from vault_session where state = 'live' and expires_at > now()`,
        )
      ).rows.map(({ id }) => id);
    expect(await live()).to.deep.equal([crashed.at(-1)]);
    expect(await codeOf(beginOn(vault, host, { sessionId: crashed[0]! }))).to.equal('SESSION_ENDED');
    const carried = await beginOn(vault, host);
    await beginOn(vault, host);
    expect(await live(), 'one that has a stream is not dead').to.include(carried.began.sessionId);
  });

  it('I6 what dead sessions were answered stays pinned for the one that ends them, for some collections and no more', async () => {
    const epochOf = async (stream: BackupStream): Promise<number> => {
      const { rows } = await catalog.pool.query<{ epoch: number }>('select epoch from vault_session where id = $1', [
        stream.began.sessionId,
      ]);
      return rows[0]!.epoch;
    };
    const epochs: number[] = [];
    for (let collections = 0; collections < 6; collections++) {
      const stream = await beginOn(vault, host);
      epochs.push(await epochOf(stream));
      stream.close();
      await catalog.pool.query('update vault_collection set epoch = epoch + 1');
    }
    expect(epochs).to.deep.equal([1, 1, 1, 1, 2, 3]);
    const unrelated = await beginOn(vault, other);
    expect(await epochOf(unrelated)).to.equal(7);
  });

  it('I4 of two sessions of one source the second to commit is told to start anew', async () => {
    const rival = [...objects.slice(0, -1), record(host, objects.at(-2)!, 'rival')];
    const [one, two] = [await sent(vault, host), await sent(vault, host, rival)];
    const outcomes = await Promise.all([
      codeOf(commitOn(one, recordId, 1)),
      codeOf(commitOn(two, rival.at(-1)!.id, 1)),
    ]);
    expect(outcomes.toSorted()).to.deep.equal(['FAILED_PRECONDITION', 'nothing was thrown']);
    expect(await snapshots()).to.equal(1);
  });

  it('I4 a record whose manifest is gone or damaged since is refused', async () => {
    const stream = await sent(vault, host);
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === objects.length) break;
    await catalog.pool.query('update object set absent_since = now() where id = $1', [objects.at(-2)!.id]);
    const next = await beginOn(vault, host, { sessionId: stream.began.sessionId });
    expect(await codeOf(commitOn(next, recordId, 1))).to.equal('FAILED_PRECONDITION');
  });

  it('I7 times come from the catalog, whatever the agent says', async () => {
    const { committedAtMs } = await backUp(vault, host, objects);
    const { rows } = await catalog.pool.query<{ committed_at: Date; now: Date; started_at_ms: number }>(
      'select committed_at, now() as now, started_at_ms from snapshot',
    );
    expect(rows[0]!.started_at_ms).to.equal(1234);
    expect(rows[0]!.committed_at.getTime()).to.equal(committedAtMs);
    expect(rows[0]!.now.getTime() - committedAtMs).to.be.within(0, 60_000);
  });

  it('I8 a base or a source of another host is refused, and no call of the contract deletes', async () => {
    await backUp(vault, host, objects);
    expect(await codeOf(beginOn(vault, { ...other, sourceId: host.sourceId }))).to.equal('NOT_FOUND');
    expect(await codeOf(beginOn(vault, other, { baseSnapshotId: recordId }))).to.equal('NOT_FOUND');
    const calls = Object.getOwnPropertyNames(Object.getPrototypeOf(vault)).filter((name) =>
      /delete|remove|drop/i.test(name),
    );
    expect(calls).to.deep.equal([]);
  });

  it('sequence numbers have no gap, and each snapshot knows the one before it', async () => {
    await backUp(vault, host, objects);
    const second = [...objects.slice(0, -1), record(host, objects.at(-2)!, 'second')];
    await backUp(vault, host, second);
    const { rows } = await catalog.pool.query<{ previous_id: Buffer | null }>(
      'select previous_id from snapshot order by sequence',
    );
    expect(rows.map((row) => row.previous_id?.toString('hex'))).to.deep.equal([undefined, recordId.toString('hex')]);
    const stream = await sent(vault, host, [record(host, objects.at(-2)!, 'third')]);
    expect(await codeOf(commitOn(stream, record(host, objects.at(-2)!, 'third').id, 5))).to.equal(
      'FAILED_PRECONDITION',
    );
  });

  it('a record needs a manifest beneath it', async () => {
    const chunkOnly = [objects[0]!, record(host, objects[0]!, 'no manifest')];
    const stream = await sent(vault, host, chunkOnly);
    expect(await codeOf(commitOn(stream, chunkOnly[1]!.id, 1))).to.equal('FAILED_PRECONDITION');
    const asNode = await sent(vault, host, [node(host, [], 'not a record')]);
    expect(await codeOf(commitOn(asNode, node(host, [], 'not a record').id, 1))).to.equal('NOT_FOUND');
  });
});
