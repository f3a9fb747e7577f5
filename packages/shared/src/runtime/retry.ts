// When to try again: exponential backoff with full jitter.
//
// Hazard: a thousand agents that lost one controller come back in step and knock it down again. Full jitter (M. Brooker,
// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015) spreads them evenly over the whole interval.
//
// Pure: the attempt and a random number are arguments; what waits is `retrying`, over a clock.

import { HoldfastError, meaningOf, toHoldfastError } from '../base/errors.ts';
import { sleep, type Clock } from './clock.ts';

export interface Backoff {
  readonly firstMs: number;
  readonly capMs: number;
}

/**
 * How long to wait before attempt `failures + 1`: uniform in [0, min(cap, first × 2^(failures − 1))].
 * @param failures how many attempts in a row have failed, ≥ 1
 * @param random uniform in [0, 1)
 */
export function backoffMs(backoff: Backoff, failures: number, random: number): number {
  const ceiling = Math.min(backoff.capMs, backoff.firstMs * 2 ** Math.min(failures - 1, 40));
  return Math.round(ceiling * random);
}

export interface RetryLimits {
  readonly backoff: Backoff;
  /** Attempts in all, ≥ 1. */
  readonly attempts: number;
  /** No attempt starts later than this after the first. */
  readonly withinMs?: number;
  readonly signal?: AbortSignal;
  /** Default: the error table's `retry`. */
  readonly retryable?: (error: HoldfastError) => boolean;
}

/** Runs `attempt` until it succeeds, fails with an error that a retry cannot help, or a limit is reached; throws the last error. */
export async function retrying<T>(
  limits: RetryLimits,
  deps: { readonly clock: Clock; readonly random: () => number },
  attempt: (number: number) => Promise<T>,
): Promise<T> {
  const startedAt = deps.clock.monotonicMs();
  const retryable = limits.retryable ?? ((error) => meaningOf(error.code).retry);
  for (let failures = 1; ; failures++) {
    try {
      return await attempt(failures);
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      if (failures >= limits.attempts || !retryable(error)) throw error;
      const waitMs = backoffMs(limits.backoff, failures, deps.random());
      const nextAt = deps.clock.monotonicMs() + waitMs;
      if (limits.withinMs !== undefined && nextAt - startedAt > limits.withinMs) throw error;
      await sleep(deps.clock, waitMs, limits.signal);
      if (limits.signal?.aborted === true) throw new HoldfastError('CANCELLED', 'cancelled while waiting to try again');
    }
  }
}
