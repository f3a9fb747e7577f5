// Whoever moves the traffic is told to: a load balancer, a content network, a cloud's router, by one signed POST.
//
// Nothing tells afterwards what the receiver made of it but its answer, so that answer is remembered: a receiver that said yes is not told again by
// a later attempt, and one of which nobody heard is. `Holdfast-Delivery` is the same for every try of one attempt.
//
// Hazards: a receiver that never answers, or without end (time and bytes are bounded); one that sends the message elsewhere (a redirect is a
// failure).
//
// Tested in traffic-webhook.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { postWebhook } from '@holdfast/shared/recovery/webhook';
import type { StepContext } from './step-type.ts';
import type { TrafficWay } from './traffic-way.ts';

export interface WebhookWay {
  readonly url: string;
  /** Its name. */
  readonly secret?: string | undefined;
}

const ANSWER_WITHIN_MS = 15_000;
const TELLING = 'telling';
const SENT = 'sent';

/**
 * @param index of it among the step's ways
 * @param addresses of the step, for the receiver
 */
export function webhookWay(way: WebhookWay, index: number, addresses: readonly string[]): TrafficWay {
  const memory = `webhook ${index}`;
  const place = placeOf(way.url);
  const isSent = (context: StepContext): boolean => context.memory()[memory] === SENT;
  const tell = async (context: StepContext, action: 'apply' | 'undo'): Promise<void> => {
    const { order, clock, signal } = context;
    const { application, plan, run, step, attempt, epoch } = order;
    const body = { application, plan, run, step, attempt, epoch, action, addresses };
    const delivery = await postWebhook({
      id: `${run}/${step}/${attempt}${index === 0 ? '' : `/${index}`}${action === 'undo' ? '/undo' : ''}`,
      url: way.url,
      body: JSON.stringify(body),
      secret: secretFor(way, context),
      nowMs: clock.wallMs(),
      timeoutMs: ANSWER_WITHIN_MS,
      signal,
    });
    if (signal.aborted) throw new HoldfastError('CANCELLED', 'the step was ended');
    if (delivery.kind === 'failed') throw new HoldfastError('FAILED_PRECONDITION', delivery.why);
  };
  return {
    precheck(context) {
      secretFor(way, context);
      return Promise.resolve({ well: true, message: `${place} would be told` });
    },

    look(context) {
      const well = isSent(context);
      return Promise.resolve({ well, message: `${place} ${well ? 'was told' : 'was not told, or did not say yes'}` });
    },

    async apply(context) {
      if (isSent(context)) return `${place} was told before`;
      // Before it: whoever dies in between may have told, and a receiver is told to take it back then, too.
      context.remember({ [memory]: TELLING });
      await tell(context, 'apply');
      context.remember({ [memory]: SENT });
      return `${place} was told`;
    },

    async undo(context) {
      if ((context.memory()[memory] ?? '') === '') return `${place} was not told anything`;
      await tell(context, 'undo');
      context.remember({ [memory]: '' });
      return `${place} was told to take it back`;
    },
  };
}

/** What stands behind the host may be a secret. Throws INVALID_ARGUMENT. */
function placeOf(url: string): string {
  const parsed = URL.parse(url);
  if (parsed !== null && (parsed.protocol === 'https:' || parsed.protocol === 'http:')) return parsed.host;
  throw new HoldfastError('INVALID_ARGUMENT', 'a webhook is an http:// or https:// URL');
}

function secretFor({ secret }: WebhookWay, { order }: StepContext): Buffer | undefined {
  if (order.sandbox !== '') throw new HoldfastError('FAILED_PRECONDITION', 'no traffic is moved in a drill');
  if (secret === undefined) return undefined;
  const value = order.secrets.get(secret);
  if (value !== undefined) return Buffer.from(value);
  throw new HoldfastError('FAILED_PRECONDITION', `the secret ${secret} has no value`, {
    hint: `holdfast plan secret set ${secret}`,
  });
}
