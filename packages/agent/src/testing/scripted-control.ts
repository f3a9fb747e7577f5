// A Control service whose test sees every stream and says what it wants on it.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  AgentMessage,
  ControllerMessage,
  ControlServiceImplementation,
  JobFinished,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';

export interface ControlConversation {
  readonly heard: AgentMessage[];
  say(message: NonNullable<ControllerMessage['kind']>): void;
  /** The agent ended it in good order. */
  ended: boolean;
}

export class ScriptedControl {
  readonly conversations: ControlConversation[] = [];
  /** What every new stream is answered. */
  refuse: HoldfastError | undefined;
  heartbeatMs = 200;
  renew = false;
  acknowledge = true;

  get latest(): ControlConversation {
    const latest = this.conversations.at(-1);
    if (latest === undefined) throw new Error('nobody has called yet');
    return latest;
  }

  finished(): JobFinished[] {
    return this.conversations.flatMap(({ heard }) =>
      heard.flatMap(({ kind }) => (kind?.$case === 'finished' ? [kind.value] : [])),
    );
  }

  service(): ControlServiceImplementation {
    return { connect: (requests) => this.#connect(requests) };
  }

  async *#connect(requests: AsyncIterable<AgentMessage>): AsyncGenerator<ControllerMessage> {
    if (this.refuse !== undefined) throw this.refuse;
    const outbox: ControllerMessage[] = [];
    let wake = (): void => {};
    const conversation: ControlConversation = {
      heard: [],
      ended: false,
      say(kind) {
        outbox.push({ kind });
        wake();
      },
    };
    this.conversations.push(conversation);
    const listen = async (): Promise<void> => {
      try {
        for await (const message of requests) {
          conversation.heard.push(message);
          if (message.kind?.$case === 'finished' && this.acknowledge) {
            conversation.say({ $case: 'received', value: { jobId: message.kind.value.jobId } });
          }
        }
        conversation.ended = true;
      } catch {
        // The connection broke: the generator's own end follows.
      }
      wake();
    };
    void listen();
    const { heartbeatMs, renew } = this;
    yield { kind: { $case: 'welcome', value: { protocol: 1, hostId: 'host-1', heartbeatMs, renew } } };
    while (!conversation.ended) {
      const next = outbox.shift();
      if (next !== undefined) yield next;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }
}
