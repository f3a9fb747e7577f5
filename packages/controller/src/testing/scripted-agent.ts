// The agent's side of a control stream, for tests: it says what the test says, and hands over what it was told.

import type { AgentMessage, ControllerMessage, DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/control';

import { makeOutbox } from '../fleet/outbox.ts';
import { codeOf, type TestController, type TestHost } from './test-controller.ts';

type Kind = NonNullable<ControllerMessage['kind']>;

type ValueOf<C extends Kind['$case']> = Extract<Kind, { $case: C }>['value'];

/** An agent that does what the test says. */
export class ScriptedAgent {
  readonly outbox = makeOutbox<DeepPartial<AgentMessage>>(1000, () => new Error('full'));
  readonly #answers: AsyncIterator<ControllerMessage>;

  constructor(test: TestController, host: TestHost, processId: string, hello: object = {}) {
    this.outbox.put({
      kind: { $case: 'hello', value: { protocolMin: 1, protocolMax: 1, agentVersion: 'test', processId, ...hello } },
    });
    this.#answers = test.control(host).connect(this.outbox)[Symbol.asyncIterator]();
  }

  /** The next message of this kind; others are passed over. */
  async next<C extends Kind['$case']>(wanted: C): Promise<ValueOf<C>> {
    for (;;) {
      const { value, done } = await this.#answers.next();
      if (done === true) throw new Error(`the stream ended before ${wanted}`);
      const kind: Kind | undefined = value.kind;
      if (kind?.$case === wanted) return (kind as { value: unknown }).value as ValueOf<C>;
    }
  }

  async ended(): Promise<string> {
    return await codeOf(
      (async () => {
        while ((await this.#answers.next()).done !== true);
      })(),
    );
  }

  say(kind: NonNullable<DeepPartial<AgentMessage>['kind']>): void {
    this.outbox.put({ kind });
  }
}
