import { expect } from 'chai';

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  answersOf,
  backUp,
  beginOn,
  chunk,
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
} from '../testing/vault-fixture.ts';
import type { Vault } from './contract.ts';

describe('ingest', () => {
  const host = newHost();
  const other = newHost(host.caller.domainId);
  const stranger = newHost();
  let catalog: Catalog;
  let disk: MemoryDisk;
  let vault: Vault;

  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host, other, stranger] });
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  const count = async (table: string): Promise<number> => {
    const { rows } = await catalog.pool.query<{ count: number }>(`select count(*) as count from ${table}`);
    return rows[0]!.count;
  };

  it('I4 a committed snapshot reads back as it was sent', async () => {
    const objects = snapshotOf(host, ['one', 'two', 'three', 'four', 'x'.repeat(5000)], 'first');
    const committed = await backUp(vault, host, objects);

    expect(committed.snapshotId.equals(objects.at(-1)!.id)).to.equal(true);
    expect(await readSnapshot(vault, host, committed.snapshotId)).to.deep.equal(plainOf(host, objects));
    const { rows } = await catalog.pool.query(
      'select sequence, previous_id, partial, warnings_total, entries from snapshot',
    );
    expect(rows).to.deep.equal([{ sequence: 1, previous_id: null, partial: false, warnings_total: 2, entries: 9 }]);
  });

  it('acknowledges objects in order, and counts only bytes that were new', async () => {
    const objects = snapshotOf(host, ['one', 'two'], 'first');
    await backUp(vault, host, objects);
    const stream = await beginOn(vault, host);
    const answers = answersOf(stream);
    answers.catch(() => undefined);
    const added = chunk(host, 'three');
    for (const object of [...objects, added]) await send(stream, object, 7);
    const again = record(host, objects.at(-2)!, 'second');
    await send(stream, again);
    await commitOn(stream, again.id, 2);

    const stored = (await answers).filter((answer) => answer.kind === 'stored').at(-1);
    expect(stored).to.deep.equal({
      kind: 'stored',
      count: objects.length + 2,
      newBytes: added.envelope.length + again.envelope.length,
    });
  });

  it('I1 bytes that are not the object they are called are refused, and nothing is stored', async () => {
    const good = chunk(host, 'content');
    for (const at of [0, 3, 20, good.envelope.length - 1]) {
      const envelope = Buffer.from(good.envelope);
      envelope[at] = envelope[at]! ^ 1;
      const stream = await beginOn(vault, host);
      expect(await codeOf(send(stream, { ...good, envelope }))).to.equal('PROTOCOL_VIOLATION');
      expect(await codeOf(answersOf(stream))).to.equal('PROTOCOL_VIOLATION');
    }
    expect(await count('object')).to.equal(0);
  });

  it('I2 an object is indexed only once its pack was synced up to it', async () => {
    await vault.stop();
    const faults = new Faults();
    vault = await openTestVault({ catalog, storage: disk.mount(faults), hosts: [host] });
    const objects = snapshotOf(host, ['one', 'two', 'three'], 'first');
    await backUp(vault, host, objects);
    const { rows } = await catalog.pool.query<{ id: string; domain_id: string; end: number }>(
      `select p.id, p.domain_id, max(o.pack_offset + o.length_bytes) as end from object o join pack p on p.sequence = o.pack_sequence
       group by p.id, p.domain_id`,
    );
    for (const row of rows) {
      const name = `${row.domain_id}/${row.id.slice(0, 2)}/${row.id}.pack`;
      expect(disk.inode(name).durable.length).to.be.at.least(row.end);
    }
    expect(rows).to.have.length(2);
  });

  it('I3 a node is refused when a reference is missing, unproven, or in another domain, and is not stored', async () => {
    const stored = chunk(host, 'stored');
    const foreign = chunk(stranger, 'foreign');
    await backUp(vault, host, snapshotOf(host, ['stored'], 'first'));
    await backUp(vault, stranger, snapshotOf(stranger, ['foreign'], 'first'));
    const before = await count('object');

    const wrongProof = { ...stored, proof: Buffer.alloc(16, 1) };
    for (const child of [chunk(host, 'never sent'), wrongProof, foreign]) {
      const stream = await beginOn(vault, host);
      await send(stream, node(host, [stored, child], 'bad'));
      expect(await codeOf(answersOf(stream))).to.equal('FAILED_PRECONDITION');
    }
    expect(await count('object')).to.equal(before);
  });

  it('I3 references are checked again for a node that is stored already', async () => {
    const objects = snapshotOf(host, ['one'], 'first');
    await backUp(vault, host, objects);
    const leaf = objects[1]!;
    const stream = await beginOn(vault, other);
    const unproven = { ...leaf.references[0]!, proof: Buffer.alloc(16) };
    await send(stream, { ...leaf, references: [unproven] });
    expect(await codeOf(answersOf(stream))).to.equal('FAILED_PRECONDITION');
  });

  it('I3 I6 what a session refers to or was told is present carries its epoch and is no longer condemned', async () => {
    const objects = snapshotOf(host, ['one', 'two'], 'first');
    await backUp(vault, host, objects);
    await catalog.pool.query('update vault_collection set epoch = 5');
    await catalog.pool.query('update object set condemned_at = now()');
    const stream = await beginOn(vault, other);
    const answers = answersOf(stream);
    answers.catch(() => undefined);
    await stream.probe(1n, objects[0]!.id);
    await send(stream, node(other, [objects[1]!], 'leaf of another host'));
    stream.close();
    await codeOf(answers);
    await vault.stop();
    const { rows } = await catalog.pool.query<{ id: Buffer; epoch: number; condemned: boolean }>(
      'select id, epoch, condemned_at is not null as condemned from object',
    );
    const stamped = rows.filter((row) => row.epoch === 5);
    expect(stamped.some((row) => row.condemned)).to.equal(false);
    expect(stamped.map((row) => row.id.toString('hex'))).to.include.members(
      [objects[0]!, objects[1]!].map((o) => o.id.toString('hex')),
    );
    expect(rows.filter((row) => row.epoch < 5).every((row) => row.condemned)).to.equal(true);
  });

  it('probes answer in batches, for chunks of the own domain alone', async () => {
    const objects = snapshotOf(host, ['one', 'two'], 'first');
    await backUp(vault, host, objects);
    const foreign = await beginOn(vault, stranger);
    const own = await beginOn(vault, other);
    const ids = Buffer.concat([...objects.map((object) => object.id), Buffer.alloc(32)]);
    for (const stream of [own, foreign]) await stream.probe(7n, ids);
    for (const stream of [own, foreign]) await stream.probe(8n, Buffer.alloc(0));
    for (const stream of [own, foreign]) stream.close(new HoldfastError('CANCELLED', 'enough'));
    const [fromOwn, fromForeign] = await Promise.all([collect(own), collect(foreign)]);
    // Two chunks, then a leaf, a root, a record, and an unknown id.
    expect(fromOwn).to.deep.equal(['7 110000', '8 ']);
    expect(fromForeign).to.deep.equal(['7 000000', '8 ']);
  });

  it('I5 an interrupted backup leaves no snapshot, and the next one finds what it uploaded', async () => {
    const objects = snapshotOf(host, ['one', 'two'], 'first');
    const stream = await beginOn(vault, host);
    for (const object of objects.slice(0, 3)) await send(stream, object);
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === 3) break;
    stream.close();

    expect(await count('snapshot')).to.equal(0);
    const next = await beginOn(vault, host);
    await next.probe(1n, Buffer.concat([objects[0]!.id, objects[1]!.id]));
    next.close();
    expect(await collect(next)).to.deep.equal(['1 11']);
  });

  it('threat 18 two hosts that send the same objects at once both commit, and each object is stored once', async () => {
    const texts = Array.from({ length: 30 }, (_, index) => `text ${index}`);
    const [mine, theirs] = [snapshotOf(host, texts, 'mine'), snapshotOf(other, texts, 'theirs')];
    const committed = await Promise.all([backUp(vault, host, mine), backUp(vault, other, theirs)]);

    expect(await readSnapshot(vault, host, committed[0].snapshotId)).to.deep.equal(plainOf(host, mine));
    expect(await readSnapshot(vault, other, committed[1].snapshotId)).to.deep.equal(plainOf(other, theirs));
    const { rows } = await catalog.pool.query<{ bytes: number }>(
      'select sum(acknowledged_bytes)::bigint as bytes from pack',
    );
    const distinct = new Map(
      [...mine, ...theirs].map((object) => [object.id.toString('hex'), object.envelope.length + 64]),
    );
    const records = [...distinct.values()].reduce((sum, bytes) => sum + bytes, 0);
    const { rows: own } = await catalog.pool.query<{ bytes: number }>(
      'select sum(length_bytes + 64)::bigint as bytes from object where kind = 6',
    );
    expect(rows[0]!.bytes).to.equal(records + own[0]!.bytes + (await count('pack')) * 112);
  });

  it('threat 18 the same object twice in one stream is stored once and acknowledged twice', async () => {
    const stream = await beginOn(vault, host);
    const object = chunk(host, 'twice');
    await send(stream, object);
    await send(stream, object);
    for await (const answer of stream.answers) if (answer.kind === 'stored' && answer.count === 2) break;
    stream.close();
    expect(await count('object')).to.equal(1);
  });
});

async function collect(stream: { answers: AsyncIterable<{ kind: string }> }): Promise<string[]> {
  const seen: string[] = [];
  try {
    for await (const answer of stream.answers as AsyncIterable<{ kind: string; batch?: bigint; present?: Buffer }>) {
      if (answer.kind === 'probed') seen.push(`${answer.batch} ${[...(answer.present ?? [])].join('')}`);
    }
  } catch {
    // The test closed it.
  }
  return seen;
}
