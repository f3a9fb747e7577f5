// A database's log from an agent's session through mTLS into a controller's vault, and what comes back through a grant.

import { newVaultClient } from '@holdfast/agent/link/vault-client';
import type { LogSession, SealedLogSegment } from '@holdfast/agent/link/log-port';
import { startTestController, type TestController, type TestHost } from '@holdfast/controller/testing/test-controller';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { PLAIN_RANGE, type LogPosition } from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';
import { openChannel } from '@holdfast/shared/rpc/channel';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { expect } from 'chai';

const stream = { systemIdentifier: 'cluster', timeline: 1 };
const keys = deriveDomainKeys(Buffer.alloc(32, 5), 'a domain', 0);

function at(order: number): LogPosition {
  return { order: BigInt(order), text: `0/${order.toString(16)}` };
}

function piece(start: number, end: number, change: object = {}, bytes = end - start): SealedLogSegment {
  const { id, envelope } = seal(keys, ObjectKind.logSegment, [], seededBytes(`${start} ${end}`, bytes), {
    codec: 'stored',
  });
  const range = { ...PLAIN_RANGE, stream, start: at(start), end: at(end), completeToMs: end, ...change };
  return { id, envelope, range };
}

describe('a log between agent and controller', function logs() {
  this.timeout(60_000);
  let test: TestController;
  let host: TestHost;
  let sourceId: string;

  before(async () => {
    test = await startTestController();
    host = await test.enrolHost('web-1');
    const type = { $case: 'engine' as const, value: { type: 'postgres', settings: [] } };
    sourceId = (await test.owner.addSource({ host: 'web-1', spec: { name: 'db', type } })).source?.id ?? '';
  });
  after(() => test.close());

  const client = () =>
    newVaultClient({ openChannel: () => openChannel(host.target), clock: systemClock, random: () => 0.5 });
  const open = (): Promise<LogSession> => client().openLog({ sourceId, signal: new AbortController().signal });
  const stored = (session: LogSession, count: number): Promise<void> =>
    new Promise((resolve, reject) => {
      session.onStored = (now) => void (now >= count && resolve());
      session.ended().catch(reject);
    });
  const codeOf = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'none',
      (error: unknown) => (error instanceof HoldfastError ? `${error.code}: ${error.message}` : String(error)),
    );

  it('is stored in order, says where to go on, and refuses what leaves something out with the vault’s own words', async () => {
    const session = await open();
    expect([session.ends, session.baseNeeded]).to.deep.equal([[], true]);
    const three = stored(session, 3);
    await session.send(piece(0, 3_000_000));
    await session.send(piece(3_000_000, 3_000_100));
    await session.send(piece(3_000_100, 3_000_300));
    await three;
    await session.gap({ stream, start: at(3_000_300), end: at(3_000_400), fromMs: 1, toMs: 2, reason: 'a test' });
    await session.send(piece(3_000_500, 3_000_600));
    expect(await codeOf(session.ended())).to.equal(
      'FAILED_PRECONDITION: a piece of the log from 0/2dc8b4 leaves out what follows 0/2dc850',
    );
    const next = await open();
    expect(next.ends.map(({ start, end }) => [start.order, end.order])).to.deep.equal([[3_000_400n, 3_000_400n]]);
    next.close();
  });

  it('belongs to one session at a time', async () => {
    const older = await open();
    const newer = await open();
    expect(await codeOf(older.ended())).to.match(/^SESSION_ENDED/);
    const one = stored(newer, 1);
    await newer.send(piece(3_000_400, 3_000_500));
    await one;
    newer.close();
  });

  it('is none of another host’s', async () => {
    const other = await test.enrolHost('web-2');
    const theirs = newVaultClient({
      openChannel: () => openChannel(other.target),
      clock: systemClock,
      random: () => 0.5,
    });
    expect(await codeOf(theirs.openLog({ sourceId, signal: new AbortController().signal }))).to.match(/^NOT_FOUND/);
  });
});
