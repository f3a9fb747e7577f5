// Threats 41–43: what a hostile agent sends gets a clear error and changes nothing.

import { expect } from 'chai';

import { ObjectKind } from '@holdfast/shared/format/envelope';
import { seal } from '@holdfast/shared/format/seal';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';

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
  record,
  send,
  snapshotOf,
  systemKeys,
  type TestObject,
} from '../testing/vault-fixture.ts';
import type { ObjectPart, Vault } from './contract.ts';
import { sha256 } from './pack-format.ts';

describe('a hostile agent', () => {
  const host = newHost();
  /** Further sources of the same host. */
  const sources = Array.from({ length: 5 }, () => ({ ...host, sourceId: newHost().sourceId }));
  const limits = {
    objectBytes: 100_000,
    streamsPerHost: 3,
    sessionsPerHost: 5,
    windowBytes: 120_000,
    bufferedBytes: 200_000,
    idleMs: 1000,
    objectMs: 5000,
  };
  let catalog: Catalog;
  let vault: Vault;
  let timers: { at: number; fire: () => void }[];
  let nowMs: number;

  beforeEach(async () => {
    catalog = await openTestCatalog();
    timers = [];
    nowMs = 0;
    const clock: Clock = {
      monotonicMs: () => nowMs,
      wallMs: () => nowMs,
      after: (delayMs, fire) => {
        const timer = { at: nowMs + delayMs, fire };
        timers.push(timer);
        return { cancel: () => void timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0) };
      },
    };
    vault = await openTestVault({
      catalog,
      storage: new MemoryDisk().mount(new Faults()),
      hosts: [host, ...sources],
      limits,
      clock,
    });
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  const pass = (ms: number): void => {
    nowMs += ms;
    for (const timer of timers.filter(({ at }) => at <= nowMs)) timer.fire();
  };
  const isEmpty = async (): Promise<void> => {
    const { rows } = await catalog.pool.query('select 1 from object union all select 1 from snapshot');
    expect(rows).to.deep.equal([]);
  };
  const partOf = (object: TestObject, more: Partial<ObjectPart> = {}): ObjectPart => ({
    id: object.id,
    totalLength: object.envelope.length,
    offset: 0,
    data: object.envelope,
    referenceProofs: Buffer.alloc(0),
    ...more,
  });

  it('threat 41 claims of length, pieces out of order and pieces that do not fit are refused before anything is allocated', async () => {
    const object = chunk(host, 'content');
    const half = object.envelope.subarray(0, 20);
    const wrong: ObjectPart[][] = [
      [partOf(object, { totalLength: 0xffff_ffff })],
      [partOf(object, { totalLength: limits.objectBytes + 1 })],
      [partOf(object, { totalLength: 10 })],
      [partOf(object, { offset: 1 })],
      [partOf(object, { data: Buffer.alloc(0) })],
      [partOf(object, { id: Buffer.alloc(31) })],
      [partOf(object, { referenceProofs: Buffer.alloc(17) })],
      [partOf(object, { referenceProofs: Buffer.alloc(16) })],
      [partOf(object, { data: half }), partOf(object, { data: half, offset: 10 })],
      [partOf(object, { data: half }), partOf(object, { data: object.envelope, offset: 20 })],
      [partOf(object, { data: half }), partOf(object, { data: half, offset: 20, totalLength: 21 })],
      [partOf(object, { data: half }), partOf(chunk(host, 'other'), { data: half, offset: 20 })],
    ];
    for (const parts of wrong) {
      const stream = await beginOn(vault, host);
      const sending = (async () => {
        for (const part of parts) await stream.part(part);
      })();
      expect(await codeOf(sending), JSON.stringify(parts[0]!.totalLength)).to.be.oneOf([
        'PROTOCOL_VIOLATION',
        'LIMIT_EXCEEDED',
      ]);
      await catalog.pool.query('delete from vault_session');
    }
    await isEmpty();
  });

  it('threat 41 what is refused takes nothing from the bytes that all streams share', async () => {
    for (let count = 0; count < 5; count++) {
      const stream = await beginOn(vault, host);
      answersOf(stream).catch(() => undefined);
      const claimed = partOf(chunk(host, 'claimed'), { data: Buffer.alloc(90_000), totalLength: 90_000 });
      expect(await codeOf(stream.part(claimed))).to.equal('PROTOCOL_VIOLATION');
    }
    await backUp(vault, host, snapshotOf(host, [seededBytes('large', 60_000).toString('latin1')], 'whole'));
  });

  it('threat 42 garbage that hashes to its id, but is no envelope of a kind an agent may store, is refused', async () => {
    const good = chunk(host, 'content');
    const changed = (at: number, value: number): Buffer => {
      const bytes = Buffer.from(good.envelope);
      bytes[at] = value;
      return bytes;
    };
    const controller = seal(systemKeys, ObjectKind.controllerRecord, [], Buffer.from('forged commit')).envelope;
    const catalogBackup = seal(host.keys, ObjectKind.catalogBackup, [], Buffer.from('forged')).envelope;
    const chunkWithReference = seal(host.keys, ObjectKind.chunk, [good.id], Buffer.from('x')).envelope;
    const garbage = [
      Buffer.from('x'),
      Buffer.alloc(200),
      changed(0, 1),
      changed(2, 9),
      changed(3, 0),
      changed(3, 77),
      changed(6, 1),
      changed(10, 1),
      controller,
      catalogBackup,
      chunkWithReference,
    ];
    for (const envelope of garbage) {
      const stream = await beginOn(vault, host);
      const id = sha256(envelope);
      const sending = stream.part({
        id,
        totalLength: envelope.length,
        offset: 0,
        data: envelope,
        referenceProofs: Buffer.alloc(0),
      });
      expect(await codeOf(sending)).to.be.oneOf(['PROTOCOL_VIOLATION', 'UNSUPPORTED_VERSION', 'NOT_ALLOWED']);
      await catalog.pool.query('delete from vault_session');
    }
    await isEmpty();
  });

  it('threat 43 a bomb inside a chunk is nothing to the controller: it never decompresses', async () => {
    await backUp(vault, host, snapshotOf(host, ['0'.repeat(1_000_000)], 'bomb'));
  });

  it('threat 41 probes are bounded, and chunks alone are answered', async () => {
    for (const ids of [Buffer.alloc(31), Buffer.alloc(32 * 4097)]) {
      const stream = await beginOn(vault, host);
      expect(await codeOf(stream.probe(1n, ids))).to.equal('PROTOCOL_VIOLATION');
    }
  });

  it('threat 41 a host has so many streams and sessions and no more, and gets them back', async () => {
    const streams = [];
    for (let i = 0; i < limits.streamsPerHost; i++) streams.push(await beginOn(vault, host));
    expect(await codeOf(beginOn(vault, host))).to.equal('LIMIT_EXCEEDED');
    for (const stream of streams) stream.close();
    (await beginOn(vault, host)).close();
    // One of the source is alive by now: each new one ends what its source left. The others are of other sources.
    for (const source of sources.slice(1)) (await beginOn(vault, source)).close();
    expect(await codeOf(beginOn(vault, sources[0]!)), 'five sessions live').to.equal('LIMIT_EXCEEDED');
    await catalog.pool.query(`update vault_session set expires_at = now() - interval '1 second'`);
    (await beginOn(vault, host)).close();
  });

  it('threat 41 a silent stream is ended; one that drips is ended, too', async () => {
    const silent = await beginOn(vault, host);
    const ended = codeOf(answersOf(silent));
    pass(1001);
    expect(await ended).to.equal('TIMED_OUT');

    const drip = await beginOn(vault, host);
    const object = chunk(host, 'x'.repeat(100));
    let code = '';
    for (let at = 0; at < object.envelope.length && code === ''; at++) {
      pass(900);
      const part = partOf(object, { offset: at, data: object.envelope.subarray(at, at + 1) });
      code = await drip.part(part).then(
        () => '',
        (error: { code: string }) => error.code,
      );
    }
    expect(code).to.equal('TIMED_OUT');
    await isEmpty();
  });

  it('a commit in the middle of an object, before anything, and after the commit is refused', async () => {
    const objects = snapshotOf(host, ['one'], 'first');
    const early = await beginOn(vault, host);
    await early.part(partOf(objects[0]!, { data: objects[0]!.envelope.subarray(0, 9) }));
    expect(await codeOf(commitOn(early, objects[0]!.id, 1))).to.equal('PROTOCOL_VIOLATION');
    const stream = await beginOn(vault, host);
    for (const object of objects) await send(stream, object);
    await commitOn(stream, objects.at(-1)!.id, 1);
    expect(await codeOf(send(stream, chunk(host, 'late')))).to.equal('FAILED_PRECONDITION');
    const short = await beginOn(vault, host);
    expect(await codeOf(commitOn(short, Buffer.alloc(5), 1))).to.equal('PROTOCOL_VIOLATION');
  });

  it('a bad object of one stream fails that stream alone, though they share a batch', async () => {
    const [good, bad] = [await beginOn(vault, host), await beginOn(vault, host)];
    const objects = snapshotOf(host, ['one', 'two'], 'good');
    const badEnd = codeOf(answersOf(bad));
    const lost = node(host, [chunk(host, 'never sent')], 'bad');
    const sending: Promise<unknown>[] = [];
    for (const object of objects) sending.push(send(good, object));
    sending.push(send(bad, lost), codeOf(send(bad, record(host, lost, 'on top of it'))));
    await Promise.all(sending);
    expect(await badEnd).to.equal('FAILED_PRECONDITION');
    await commitOn(good, objects.at(-1)!.id, 1);
    const { rows } = await catalog.pool.query('select 1 from object where id = any($1)', [[lost.id]]);
    expect(rows).to.deep.equal([]);
  });
});
