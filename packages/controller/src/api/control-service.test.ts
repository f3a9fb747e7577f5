import type { AgentMessage, DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { AgentMessage as WireMessage, JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { expect } from 'chai';
import type { CallContext } from 'nice-grpc-common';

import type { ControlConnection, ControlHub } from '../fleet/control-hub.ts';
import type { CallerContext } from './caller.ts';
import { makeControlService } from './control-service.ts';

const caller = { kind: 'host', hostId: 'h', hostName: 'web-1', domainId: 'd', domainName: 'main' };
const context = { caller, peerAddress: '127.0.0.1:1', signal: new AbortController().signal };

describe('control service', () => {
  /** Sends the messages of one host, ends nothing, and says how often a result was worked on, and how often at once. */
  async function scrubsFor(jobIds: readonly string[]): Promise<{ inAll: number; atOnce: number; taken: number }> {
    const counts = { inAll: 0, atOnce: 0, taken: 0 };
    let running = 0;
    const everythingHeard = Promise.withResolvers<void>();
    const connection = {
      outgoing: {
        [Symbol.asyncIterator]: () => ({
          next: () => everythingHeard.promise.then(() => ({ done: true, value: undefined })),
        }),
      },
      finished: async () => void counts.taken++,
      close: async () => undefined,
    } as unknown as ControlConnection;
    const service = makeControlService({
      hub: { connect: async () => connection } as unknown as ControlHub,
      complete: async (_host, _jobId, outcome) => {
        counts.inAll++;
        counts.atOnce = Math.max(counts.atOnce, ++running);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running--;
        return outcome;
      },
      warm: async () => undefined,
      log: () => undefined,
    });
    const messages: DeepPartial<AgentMessage>[] = [
      { kind: { $case: 'hello', value: { protocolMin: 1, protocolMax: 1 } } },
      ...jobIds.map((jobId) => ({
        kind: { $case: 'finished' as const, value: { jobId, outcome: JobOutcome.create() } },
      })),
    ];
    async function* incoming(): AsyncGenerator<AgentMessage> {
      for (const message of messages) yield WireMessage.fromPartial(message);
      while (counts.taken < jobIds.length) await new Promise((resolve) => setTimeout(resolve, 5));
      everythingHeard.resolve();
    }
    const answers = service.connect(incoming(), context as unknown as CallContext & CallerContext);
    for await (const _ of answers);
    return counts;
  }

  it('41 works on a few results of one host at once, however many it sends', async () => {
    const jobs = Array.from({ length: 50 }, (_, index) => `job ${index}`);
    expect(await scrubsFor(jobs)).to.deep.equal({ inAll: 50, atOnce: 8, taken: 50 });
  });

  it('reads the packs once for a result that is said several times', async () => {
    expect(await scrubsFor(['job', 'job', 'job'])).to.deep.equal({ inAll: 1, atOnce: 1, taken: 3 });
  });
});
