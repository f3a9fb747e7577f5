// The log calls of the Vault service: wire ⇄ vault/contract.ts.
//
// Hazard: as in vault-service.ts: requests are read one by one, each only when the vault has room for it.
//
// Tested in log-service.db.test.ts.

import { freeMemory } from '@holdfast/shared/base/free-memory';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  LogListed,
  ReadLogList as WireList,
  ReadLogRequest,
  ReadLogResponse,
  StoreLogRequest,
  StoreLogResponse,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { endToWire, gapFromWire, rangeFromWire, rangeToWire, streamFromWire } from '@holdfast/shared/rpc/log-wire';

import type { Caller, LogReadAnswer, LogReadStream, LogStoreStream, Vault } from '../vault/contract.ts';

const SOURCE_ID_MAX = 64;
const DATA_MAX_BYTES = 1024 * 1024 - 1024;

/** One stream of StoreLog. */
export async function* storeLog(
  vault: Vault,
  requests: AsyncIterable<StoreLogRequest>,
  caller: Caller,
): AsyncGenerator<StoreLogResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true || first.value.kind?.$case !== 'begin') throw violation('a stream that does not begin');
  const { sourceId } = first.value.kind.value;
  if (sourceId.length > SOURCE_ID_MAX || sourceId.includes('\0')) throw violation('an id that is none');
  const stream = await vault.beginLog(caller, sourceId);
  try {
    const { ends, windowBytes, baseNeeded } = stream.began;
    yield { kind: { $case: 'began', value: { ends: ends.map(endToWire), windowBytes, baseNeeded } } };
    // What fails here ends the stream's answers with the same error.
    void receive(stream, incoming).catch(() => undefined);
    for await (const { count } of stream.answers) {
      yield { kind: { $case: 'stored', value: { count: BigInt(count) } } };
    }
  } finally {
    stream.close();
  }
}

async function receive(stream: LogStoreStream, incoming: AsyncIterator<StoreLogRequest>): Promise<void> {
  try {
    for (;;) {
      const next = await incoming.next();
      if (next.done === true) return stream.close();
      await take(stream, next.value);
    }
  } catch (error) {
    stream.close(error);
  }
}

async function take(stream: LogStoreStream, { kind }: StoreLogRequest): Promise<void> {
  switch (kind?.$case) {
    case 'part': {
      const part = kind.value;
      await stream.part({ ...part, release: () => freeMemory(part.data) });
      break;
    }
    case 'segment':
      await stream.segment(kind.value.id, rangeFromWire(kind.value.range));
      break;
    case 'gap':
      await stream.gap(gapFromWire(kind.value));
      break;
    case 'alive':
      await stream.alive();
      break;
    default:
      throw violation('a message out of its place');
  }
}

/** One stream of ReadLog: questions are answered one after the other, each when the peer has taken what came before. */
export async function* readLog(
  { vault, nextWithinIdle }: { readonly vault: Vault; readonly nextWithinIdle: NextRequest },
  requests: AsyncIterable<ReadLogRequest>,
  caller: Caller,
): AsyncGenerator<ReadLogResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true || first.value.kind?.$case !== 'open') throw violation('a stream that does not open');
  const stream = vault.openLogRead(caller, first.value.kind.value.grant);
  yield { kind: { $case: 'opened', value: { ends: (await stream.ends()).map(endToWire) } } };
  for (;;) {
    const next = await nextWithinIdle(incoming.next());
    if (next.done === true) return;
    const { kind } = next.value;
    if (kind?.$case === 'list') yield { kind: { $case: 'listed', value: await listed(stream, kind.value) } };
    else if (kind?.$case === 'fetch') {
      for await (const answer of stream.fetch(kind.value.ids)) yield* fetched(answer);
    } else throw violation('a message out of its place');
  }
}

export type NextRequest = <T>(next: Promise<T>) => Promise<T>;

async function listed(stream: LogReadStream, { stream: of, start, end, withoutFiles }: WireList): Promise<LogListed> {
  const page = await stream.list({
    stream: streamFromWire(of),
    start: start?.order ?? 0n,
    end: end?.order,
    withoutFiles,
  });
  const segments = page.segments.map(({ id, range, lengthBytes }) => ({
    id,
    range: rangeToWire(range),
    length: lengthBytes,
  }));
  return { segments, last: page.last };
}

function* fetched(answer: LogReadAnswer): Generator<ReadLogResponse> {
  const { id } = answer;
  if (answer.kind === 'notServed') {
    const { reason, message } = answer;
    yield { kind: { $case: 'failed', value: { id, reason, message } } };
    return;
  }
  const { envelope } = answer;
  const totalLength = envelope.length;
  for (let offset = 0; offset < totalLength; offset += DATA_MAX_BYTES) {
    const data = envelope.subarray(offset, offset + DATA_MAX_BYTES);
    yield { kind: { $case: 'part', value: { id, totalLength, offset, data } } };
  }
}

function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the agent sent ${what}`);
}
