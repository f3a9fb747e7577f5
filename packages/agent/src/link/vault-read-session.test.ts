import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ReadRequest, ReadResponse, ServedPart } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { startTestController, type TestController } from '../testing/test-controller.ts';
import { newVaultClient } from './vault-client.ts';
import { OBJECT_ITSELF, type ReadSession, type ServedObject, type WantReceiver } from './vault-port.ts';

const record = { id: Buffer.alloc(32, 1), mac: Buffer.alloc(16, 2) };
const PART = 1024 * 1024;

type Serve = (want: { tag: bigint; references: number[] }) => Iterable<NonNullable<ReadResponse['kind']>>;

function noLogs(): never {
  throw new HoldfastError('NOT_FOUND', 'no logs here');
}

describe('vault read session', () => {
  let controller: TestController;
  let abort: AbortController;
  let envelopes: Buffer[];
  let serve: Serve;
  let wanted: number[][];
  let grants: Buffer[];

  const part = (tag: bigint, reference: number, offset: number, more: Partial<ServedPart> = {}): ServedPart => {
    const envelope = envelopes[reference === OBJECT_ITSELF ? 0 : reference] ?? Buffer.alloc(0);
    return {
      tag,
      reference,
      id: Buffer.alloc(32, reference),
      totalLength: envelope.length,
      offset,
      data: envelope.subarray(offset, offset + PART),
      mac: offset === 0 && reference % 2 === 0 ? Buffer.alloc(16, 7) : Buffer.alloc(0),
      pack: offset === 0 ? 'pack-1' : '',
      packOffset: BigInt(offset === 0 ? 1000 + reference : 0),
      ...more,
    };
  };
  const honest: Serve = function* ({ tag, references }) {
    for (const reference of (references.length === 0 ? [OBJECT_ITSELF] : references).toReversed()) {
      const length = envelopes[reference === OBJECT_ITSELF ? 0 : reference]?.length ?? 0;
      for (let offset = 0; offset < length; offset += PART) {
        yield { $case: 'part', value: part(tag, reference, offset) };
      }
    }
    yield { $case: 'done', value: { tag } };
  };

  async function* read(requests: AsyncIterable<ReadRequest>): AsyncGenerator<ReadResponse> {
    for await (const { kind } of requests) {
      if (kind?.$case === 'open') {
        grants.push(kind.value.grant);
        if (kind.value.grant.length === 0) throw new HoldfastError('NOT_ALLOWED', 'no grant');
        yield { kind: { $case: 'opened', value: { recordId: record.id, recordMac: record.mac } } };
      } else if (kind?.$case === 'want') {
        wanted.push(kind.value.references);
        for (const answer of serve(kind.value)) yield { kind: answer };
      }
    }
  }

  const open = (grant: Uint8Array = Buffer.from('grant')): Promise<ReadSession> =>
    newVaultClient({
      openChannel: () => controller.openChannel({ everyMs: 300, timeoutMs: 300 }),
      clock: systemClock,
      random: () => 0.1,
    }).openRead(grant, { signal: abort.signal });
  const failure = async (promise: Promise<unknown>): Promise<string> => {
    const error: unknown = await promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    return error instanceof HoldfastError ? error.code : expect.fail(`not a HoldfastError: ${String(error)}`);
  };

  beforeEach(async () => {
    abort = new AbortController();
    envelopes = Array.from({ length: 20 }, (_, i) => randomBytes(1000 + i * 250_000));
    serve = honest;
    wanted = [];
    grants = [];
    controller = await startTestController({
      vault: {
        read,
        backup: () => {
          throw new HoldfastError('NOT_FOUND', 'no backups here');
        },
        storeLog: noLogs,
        readLog: noLogs,
        grantOwn: () => Promise.reject(new HoldfastError('NOT_FOUND', 'no snapshot')),
      },
    });
  });
  afterEach(() => controller.close());

  it('R1 hands over each wanted object once and whole, with several wants at once', async () => {
    const session = await open();
    expect(session.record.id.length).to.equal(32);
    const [itself, some, others] = await Promise.all([
      session.fetch(session.record, []),
      session.fetch(session.record, [1, 2, 3, 19]),
      session.fetch(session.record, [4, 19]),
    ]);
    expect(itself.objects.map(({ reference }) => reference)).to.deep.equal([OBJECT_ITSELF]);
    expect(some.objects.map(({ reference }) => reference).toSorted((a, b) => a - b)).to.deep.equal([1, 2, 3, 19]);
    for (const object of [...some.objects, ...others.objects]) {
      expect(object.envelope.equals(envelopes[object.reference] ?? Buffer.alloc(0))).to.equal(true);
      expect(object.envelope.buffer.byteLength).to.equal(object.envelope.length);
      expect(object.packOffset).to.equal(1000 + object.reference);
      expect(object.mac === undefined).to.equal(object.reference % 2 === 1);
    }
    session.close();
    expect(await failure(session.fetch(session.record, []))).to.equal('CANCELLED');
  });

  it('names what could not be served, and goes on', async () => {
    serve = function* ({ tag }) {
      const failed = { tag, reference: 1, id: Buffer.alloc(32, 1), reason: 'damaged', message: 'a flipped byte' };
      yield { $case: 'failed', value: failed };
      yield { $case: 'part', value: part(tag, 2, 0) };
      yield { $case: 'done', value: { tag } };
    };
    const session = await open();
    const answer = await session.fetch(session.record, [1, 2]);
    expect(answer.failures).to.have.length(1);
    expect(answer.failures[0]).to.deep.include({ reference: 1, reason: 'damaged' });
    expect(answer.objects.map(({ reference }) => reference)).to.deep.equal([2]);
    session.close();
  });

  it('R4 after a reset wants only what is missing (threats 16, 20)', async () => {
    let cuts = 0;
    serve = function* (want) {
      const whole = cuts++ > 0;
      for (const answer of honest(whole ? want : { ...want, references: [18, 19] })) {
        if (whole || answer.$case === 'part') yield answer;
      }
    };
    const session = await open();
    const seen: number[] = [];
    const receive: WantReceiver = {
      onObject: ({ reference }) => {
        seen.push(reference);
        if (seen.length === 2) setImmediate(() => controller.relay.cut());
      },
      onFailure: () => {},
    };
    await session.want(session.record, [1, 2, 18, 19], receive);
    expect(seen.toSorted((a, b) => a - b)).to.deep.equal([1, 2, 18, 19]);
    expect(wanted).to.deep.equal([
      [1, 2, 18, 19],
      [1, 2],
    ]);
    expect(grants).to.have.length(2);
    session.close();
  });

  it('R3 a receiver that takes its time holds the vault back', async () => {
    let served = 0;
    serve = function* (want) {
      for (const answer of honest(want)) {
        served++;
        yield answer;
      }
    };
    envelopes = Array.from({ length: 100 }, () => randomBytes(1_000_000));
    const go = Promise.withResolvers<undefined>();
    const first = Promise.withResolvers<undefined>();
    const seen: ServedObject[] = [];
    const session = await open();
    const references = envelopes.map((_, index) => index);
    const all = session.want(session.record, references, {
      async onObject(object) {
        seen.push(object);
        first.resolve(undefined);
        await go.promise;
      },
      onFailure: () => {},
    });
    await first.promise;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(seen.length).to.be.lessThan(4);
    expect(served).to.be.lessThan(60);
    go.resolve(undefined);
    await all;
    expect(seen).to.have.length(100);
    session.close();
  });

  const hostile: [string, Serve][] = [
    [
      'an object that was not wanted',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag, 5, 0) };
      },
    ],
    [
      'an object twice',
      function* ({ tag }) {
        for (const _ of [1, 2]) yield { $case: 'part', value: part(tag, 1, 0) };
      },
    ],
    [
      'another tag',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag + 9n, 1, 0) };
      },
    ],
    [
      'a 4 GiB object (threat 41)',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag, 1, 0, { totalLength: 0xffff_fff0 }) };
      },
    ],
    [
      'an object of no bytes',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag, 1, 0, { totalLength: 0, data: Buffer.alloc(0) }) };
      },
    ],
    [
      'parts of no bytes for ever',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag, 1, 0, { data: Buffer.alloc(0) }) };
      },
    ],
    [
      'more bytes than announced',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag, 1, 0, { totalLength: 10 }) };
      },
    ],
    [
      'parts out of order',
      function* ({ tag }) {
        yield { $case: 'part', value: part(tag, 1, 500) };
      },
    ],
    [
      'an early end',
      function* ({ tag }) {
        yield { $case: 'done', value: { tag } };
      },
    ],
    [
      'a second opening',
      function* () {
        yield { $case: 'opened', value: { recordId: record.id, recordMac: record.mac } };
      },
    ],
  ];
  for (const [what, script] of hostile) {
    it(`R1 R2 ends the session when the vault serves ${what}`, async () => {
      serve = script;
      const session = await open();
      expect(await failure(session.fetch(session.record, [1]))).to.equal('PROTOCOL_VIOLATION');
      expect(await failure(session.fetch(session.record, [1]))).to.equal('PROTOCOL_VIOLATION');
    });
  }

  it('throws what a refused grant says, and ends when it is cancelled', async () => {
    expect(await failure(open(Buffer.alloc(0)))).to.equal('NOT_ALLOWED');
    serve = function* () {};
    const session = await open();
    const waiting = failure(session.fetch(session.record, [1]));
    abort.abort();
    expect(await waiting).to.equal('CANCELLED');
  });
});
