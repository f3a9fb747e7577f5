// Log sessions over real TLS and gRPC, against a log in memory that breaks as told.

import { once } from 'node:events';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import type { LogGap, LogPosition, LogRange } from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';
import type {
  ReadLogRequest,
  ReadLogResponse,
  StoreLogRequest,
  StoreLogResponse,
  VaultServiceImplementation,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import {
  endToWire,
  gapFromWire,
  positionFromWire,
  rangeFromWire,
  rangeToWire,
  streamFromWire,
} from '@holdfast/shared/rpc/log-wire';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { MemoryLog } from '../testing/memory-log.ts';
import { startTestController, type TestController } from '../testing/test-controller.ts';
import type { ListedSegment, LogSession, SealedLogSegment } from './log-port.ts';
import { newVaultClient } from './vault-client.ts';
import type { VaultClient } from './vault-port.ts';

const stream = { systemIdentifier: 'system', timeline: 1 };
const keys = deriveDomainKeys(Buffer.alloc(32, 3), 'domain-1', 0);
const PAGE = 3;

function at(order: number): LogPosition {
  return { order: BigInt(order), text: `0/${order}` };
}

function piece(start: number, end: number, bytes = 100): SealedLogSegment {
  const { id, envelope } = seal(keys, ObjectKind.logSegment, [], seededBytes(`${start}`, bytes), { codec: 'stored' });
  const range: LogRange = {
    stream,
    start: at(start),
    end: at(end),
    file: '',
    firstCommitAtMs: undefined,
    lastCommitAtMs: 5,
    completeToMs: 7,
    marks: ['name=x'],
    merged: false,
  };
  return { id, envelope, range };
}

function gap(start: number, end: number): LogGap {
  return { stream, start: at(start), end: at(end), fromMs: 1, toMs: 2, reason: 'lost' };
}

/** A vault's log calls over a log in memory. */
class LogVault {
  readonly log = new MemoryLog();
  windowBytes = 64 * 1024;
  /** No acknowledgement leaves while it waits. */
  acknowledge: Promise<void> = Promise.resolve();
  served = 0;
  onServe: (served: number) => void = () => undefined;
  alive = 0;

  service(): VaultServiceImplementation {
    const never = (): never => {
      throw new HoldfastError('NOT_FOUND', 'only logs here');
    };
    return {
      backup: never,
      read: never,
      grantOwn: never,
      storeLog: (requests) => this.#store(requests),
      readLog: (requests) => this.#read(requests),
    };
  }

  async *#store(requests: AsyncIterable<StoreLogRequest>): AsyncGenerator<StoreLogResponse> {
    const session = await this.log.client.openLog({ sourceId: '', signal: new AbortController().signal });
    let parts: Buffer[] = [];
    let count = 0n;
    for await (const { kind } of requests) {
      if (kind?.$case === 'begin') {
        const { baseNeeded } = session;
        const value = { ends: session.ends.map(endToWire), windowBytes: this.windowBytes, baseNeeded };
        yield { kind: { $case: 'began', value } };
        continue;
      }
      if (kind?.$case === 'part') {
        parts.push(kind.value.data);
        continue;
      }
      if (kind?.$case === 'segment') {
        const stored = once(this.#stored(session), 'stored');
        await session.send({
          id: kind.value.id,
          envelope: Buffer.concat(parts),
          range: rangeFromWire(kind.value.range),
        });
        await Promise.race([stored, session.ended()]);
        parts = [];
        count++;
      } else if (kind?.$case === 'gap') {
        await session.gap(gapFromWire(kind.value));
        count++;
      } else this.alive++;
      await this.acknowledge;
      yield { kind: { $case: 'stored', value: { count } } };
    }
  }

  #stored(session: LogSession): EventTarget {
    const target = new EventTarget();
    session.onStored = () => target.dispatchEvent(new Event('stored'));
    return target;
  }

  async *#read(requests: AsyncIterable<ReadLogRequest>): AsyncGenerator<ReadLogResponse> {
    for await (const { kind } of requests) {
      if (kind?.$case === 'open') {
        if (Buffer.from(kind.value.grant).toString() !== 'good') throw new HoldfastError('NOT_ALLOWED', 'no');
        yield { kind: { $case: 'opened', value: { ends: [] } } };
      } else if (kind?.$case === 'list') {
        const { start, end } = kind.value;
        const all: ListedSegment[] = [];
        const session = await this.log.client.openLogRead(Buffer.alloc(0), { signal: new AbortController().signal });
        const from = positionFromWire(start).order;
        for await (const one of session.list(streamFromWire(kind.value.stream), from, end?.order)) all.push(one);
        const segments = all
          .slice(0, PAGE)
          .map(({ id, range, length }) => ({ id: Buffer.from(id), range: rangeToWire(range), length }));
        yield { kind: { $case: 'listed', value: { segments, last: all.length <= PAGE } } };
      } else if (kind?.$case === 'fetch') {
        for (const id of kind.value.ids) {
          this.onServe(++this.served);
          const found = this.log.segments.find((one) => one.id.equals(id));
          if (found === undefined) {
            yield { kind: { $case: 'failed', value: { id, reason: 'damaged', message: 'its bytes are damaged' } } };
            continue;
          }
          const { envelope } = found;
          for (let offset = 0; offset < envelope.length; offset += 50) {
            const data = envelope.subarray(offset, offset + 50);
            yield { kind: { $case: 'part', value: { id, totalLength: envelope.length, offset, data } } };
          }
        }
      }
    }
  }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing',
    (error: unknown) => (error instanceof HoldfastError ? error.code : String(error)),
  );
}

describe('log session', () => {
  let vault: LogVault;
  let controller: TestController;
  let client: VaultClient;
  let abort: AbortController;

  beforeEach(async () => {
    vault = new LogVault();
    controller = await startTestController({ vault: vault.service() });
    abort = new AbortController();
    client = newVaultClient({
      openChannel: () => controller.openChannel({ everyMs: 300, timeoutMs: 300 }),
      clock: systemClock,
      random: () => 0.2,
    });
  });
  afterEach(() => controller.close());

  const open = (): Promise<LogSession> => client.openLog({ sourceId: 'source-1', signal: abort.signal });
  /** Resolves when so many are durable. */
  const stored = (session: LogSession, count: number): Promise<void> =>
    new Promise((resolve, reject) => {
      session.onStored = (now) => {
        if (now >= count) resolve();
      };
      session.ended().catch(reject);
    });

  it('LS1 stores pieces of several parts and gaps in order, and goes on where the vault says', async () => {
    const session = await open();
    expect(session.ends).to.deep.equal([]);
    expect(session.baseNeeded).to.equal(true);
    const two = stored(session, 2);
    await session.send(piece(0, 10, 2_500_000));
    await session.send(piece(10, 20));
    await two;
    await session.gap(gap(20, 30));
    await session.send(piece(30, 40));
    session.close();
    await session.ended();
    expect(vault.log.segments[0]!.range).to.deep.equal(piece(0, 10).range);
    expect(vault.log.gaps).to.deep.equal([gap(20, 30)]);
    const again = await open();
    expect(again.ends.map(({ end }) => end.text)).to.deep.equal([vault.log.head(stream)!.end.text]);
    again.close();
  });

  it('LS2 sends one piece beyond the window and then waits', async () => {
    const release = Promise.withResolvers<void>();
    vault.acknowledge = release.promise;
    vault.windowBytes = 1000;
    const session = await open();
    await session.send(piece(0, 10, 900));
    let third = false;
    const sent = session.send(piece(10, 20, 900)).then(() => (third = true));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(third).to.equal(false);
    release.resolve();
    await sent;
    session.close();
  });

  it('a piece that the vault refuses ends the session with the reason, and everything pending with it', async () => {
    const session = await open();
    await session.send(piece(0, 10));
    await session.send(piece(11, 20)).catch(() => undefined);
    expect(await codeOf(session.gap(gap(20, 30)))).to.equal('FAILED_PRECONDITION');
    expect(await codeOf(session.ended())).to.equal('FAILED_PRECONDITION');
    expect(await codeOf(session.send(piece(10, 20)))).to.equal('FAILED_PRECONDITION');
  });

  it('a broken connection ends the session; the next one goes on from what is stored', async () => {
    const session = await open();
    const one = stored(session, 1);
    await session.send(piece(0, 10));
    await one;
    controller.relay.cut();
    expect(await codeOf(session.ended())).to.equal('UNREACHABLE');
    const next = await open();
    expect(next.ends[0]!.end.order).to.equal(10n);
    next.close();
  });

  it('a newer session ends the older one', async () => {
    const older = await open();
    await older.send(piece(0, 10));
    const newer = await open();
    expect(await codeOf(older.send(piece(10, 20)).then(() => older.ended()))).to.equal('SESSION_ENDED');
    newer.close();
  });

  it('ends when its signal is aborted, and is not opened with one that was', async () => {
    const session = await open();
    abort.abort();
    expect(await codeOf(session.ended())).to.equal('CANCELLED');
    expect(await codeOf(open())).to.equal('CANCELLED');
  });

  describe('reads', () => {
    const grant = Buffer.from('good');

    beforeEach(async () => {
      const session = await open();
      const all = stored(session, 10);
      for (let index = 0; index < 10; index++) await session.send(piece(index * 10, index * 10 + 10, 120));
      await all;
      session.close();
    });

    it('list every page, and fetch in between', async () => {
      const session = await client.openLogRead(grant, { signal: abort.signal });
      const seen: string[] = [];
      for await (const { id, range, length } of session.list(stream, 15n, 95n)) {
        for await (const served of session.fetch([id])) {
          expect(served.envelope.length).to.equal(length);
          expect(served.envelope.equals(piece(Number(range.start.order), 0, 120).envelope)).to.equal(true);
        }
        seen.push(range.start.text);
      }
      expect(seen).to.deep.equal(['0/10', '0/20', '0/30', '0/40', '0/50', '0/60', '0/70', '0/80', '0/90']);
      session.close();
    });

    it('LR1, LR2 go on behind a broken connection with what is missing', async () => {
      const session = await client.openLogRead(grant, { signal: abort.signal });
      vault.onServe = (served) => {
        if (served === 4) controller.relay.cut();
      };
      const ids = vault.log.segments.map(({ id }) => id);
      const seen: string[] = [];
      for await (const { id } of session.fetch(ids)) seen.push(Buffer.from(id).toString('hex'));
      expect(seen).to.deep.equal(ids.map((id) => id.toString('hex')));
      session.close();
    });

    it('name a damaged segment', async () => {
      const session = await client.openLogRead(grant, { signal: abort.signal });
      const fetched = async (): Promise<void> => {
        for await (const served of session.fetch([Buffer.alloc(32, 1)])) expect.fail(`it served ${served.id.length}`);
      };
      expect(await codeOf(fetched())).to.equal('DAMAGED');
      session.close();
    });

    it('refuse a grant that is none at once', async () => {
      expect(await codeOf(client.openLogRead(Buffer.from('bad'), { signal: abort.signal }))).to.equal('NOT_ALLOWED');
    });
  });
});
