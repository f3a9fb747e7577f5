// The log calls of the Vault service: wire ⇄ vault/contract.ts.
//
// Hazard: as in vault-service.ts: requests are read one by one, each only when the vault has room for it.
//
// Tested in log-service.db.test.ts.

import { freeMemory } from '@holdfast/shared/base/free-memory';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { StoreLogRequest, StoreLogResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { endToWire, gapFromWire, rangeFromWire } from '@holdfast/shared/rpc/log-wire';

import type { Caller, LogStoreStream, Vault } from '../vault/contract.ts';

const SOURCE_ID_MAX = 64;

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

function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the agent sent ${what}`);
}
