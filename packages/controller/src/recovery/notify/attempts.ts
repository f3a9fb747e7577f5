// What becomes of a message after an attempt to deliver it: sent, tried again, or given up.
//
// Hazard: a message that is tried for ever, or that is given up while the mail server restarts. So tries grow further apart and end
// after about ten minutes, and an answer that no later try can change ends them at once.
//
// Pure. Tested in attempts.test.ts.

import { backoffMs, type Backoff } from '@holdfast/shared/runtime/retry';

export interface Attempts {
  readonly backoff: Backoff;
  readonly max: number;
}

/** Seven pauses, half a cap each on the average: five to ten minutes from the first try to the last. */
export const ATTEMPTS: Attempts = { backoff: { firstMs: 10_000, capMs: 300_000 }, max: 8 };

export type Delivery =
  | { readonly kind: 'sent' }
  /** `final`: the same message will never be taken. */
  | { readonly kind: 'failed'; readonly final: boolean; readonly why: string };

export type AfterAttempt =
  | { readonly state: 'sent' }
  | { readonly state: 'waiting'; readonly inMs: number; readonly why: string }
  | { readonly state: 'failed'; readonly why: string };

const WHY_MAX = 300;

/** @param attempts how many there were, this one too, ≥ 1; @param random uniform in [0, 1) */
export function afterAttempt(
  delivery: Delivery,
  attempts: number,
  random: number,
  limits: Attempts = ATTEMPTS,
): AfterAttempt {
  if (delivery.kind === 'sent') return { state: 'sent' };
  const why = delivery.why.slice(0, WHY_MAX);
  if (delivery.final || attempts >= limits.max) return { state: 'failed', why };
  // Not the full jitter of a fleet that comes back in step: at least half, or all tries may fall into one short outage.
  const inMs = backoffMs(limits.backoff, attempts, 0.5 + random / 2);
  return { state: 'waiting', inMs, why };
}
