// A message to a URL: one POST of JSON, signed, so that the receiver knows who sent it and when.
//
// The header `Holdfast-Signature: t=SECONDS,v1=HEX` holds the HMAC-SHA-256 of `SECONDS.BODY` under the contact's secret; a receiver refuses
// an old time, so that a message that was overheard can't be told again. `Holdfast-Delivery` is the same for every try of one message.
//
// Hazards: a receiver that never answers, or answers without end (time and bytes are bounded); one that sends the message elsewhere
// (a redirect is not followed: it is a failure).
//
// Tested in webhook.test.ts.

import { createHmac } from 'node:crypto';

export type WebhookOutcome =
  | { readonly kind: 'sent' }
  /** `final`: the same message will never be taken. */
  | { readonly kind: 'failed'; readonly final: boolean; readonly why: string };

export interface WebhookMessage {
  readonly id: string;
  readonly url: string;
  /** JSON. */
  readonly body: string;
  /** Undefined: sent without a signature. */
  readonly secret: Buffer | undefined;
  /** Wall clock, Unix ms. */
  readonly nowMs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** As much of an answer is read: it says nothing that counts. */
const ANSWER_MAX_BYTES = 16 * 1024;

/** The value of Holdfast-Signature. */
export function webhookSignature(secret: Buffer, seconds: number, body: string): string {
  const mac = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return `t=${seconds},v1=${mac}`;
}

export async function postWebhook(message: WebhookMessage): Promise<WebhookOutcome> {
  const { id, url, body, secret, nowMs, timeoutMs } = message;
  const seconds = Math.floor(nowMs / 1000);
  try {
    const answer = await fetch(url, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.any([message.signal, AbortSignal.timeout(timeoutMs)]),
      headers: {
        'content-type': 'application/json',
        'user-agent': 'holdfast',
        'holdfast-delivery': id,
        ...(secret === undefined ? {} : { 'holdfast-signature': webhookSignature(secret, seconds, body) }),
      },
      body,
    });
    await drain(answer);
    if (answer.ok) return { kind: 'sent' };
    const why = answer.status >= 300 && answer.status < 400 ? 'sends the message elsewhere' : 'answers';
    return {
      kind: 'failed',
      final: isFinal(answer.status),
      why: `${new URL(url).host} ${why} (HTTP ${answer.status})`,
    };
  } catch (error) {
    return { kind: 'failed', final: false, why: `${new URL(url).host} can't be reached: ${reasonOf(error)}` };
  }
}

/** 408 and 429 ask for another try; everything else below 500 will say the same again. */
function isFinal(status: number): boolean {
  return status < 500 && status !== 408 && status !== 429;
}

async function drain(answer: Response): Promise<void> {
  if (answer.body === null) return;
  let length = 0;
  for await (const chunk of answer.body) {
    length += Buffer.from(chunk).length;
    if (length > ANSWER_MAX_BYTES) return;
  }
}

/** fetch hides what happened in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'an unknown failure';
  const { cause } = error;
  if (error.name === 'TimeoutError') return 'no answer in time';
  return cause instanceof Error ? cause.message || cause.name : error.message;
}
