// How fast a job may move bytes: a token bucket that may go into debt.
//
// A transfer is charged before it happens and waits until the bucket has paid for it; a later one waits behind it. A
// transfer larger than the bucket is thus let through late, never refused and never split.
//
// Invariants (bandwidth-limiter.property.test.ts): B1 over any span of time no more than `burst + rate × span` bytes plus
// the one transfer on its way were let through; B2 waits are finite and served in order; B3 a clock that stands still or
// goes back gives no tokens and breaks nothing.
//
// `charge` decides and is pure; the limiter is the shell over a clock.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';

export interface BandwidthLimiter {
  /** Resolves when `bytes` may be moved. Throws CANCELLED when the signal is aborted meanwhile. */
  take(bytes: number, signal?: AbortSignal): Promise<void>;
}

export interface TokenBucket {
  readonly bytesPerSecond: number;
  readonly burstBytes: number;
  /** Negative: debt. */
  readonly levelBytes: number;
  readonly updatedAtMs: number;
}

export interface Charge {
  readonly bucket: TokenBucket;
  /** Until the transfer may start. */
  readonly waitMs: number;
}

/** A quarter of a second's worth, at least a part of a message, so that a low limit still fills its packets. */
export function newBucket(bytesPerSecond: number, nowMs: number): TokenBucket {
  const burstBytes = Math.max(64 * 1024, Math.ceil(bytesPerSecond / 4));
  return { bytesPerSecond, burstBytes, levelBytes: burstBytes, updatedAtMs: nowMs };
}

export function charge(bucket: TokenBucket, bytes: number, nowMs: number): Charge {
  const now = Math.max(nowMs, bucket.updatedAtMs);
  const earned = ((now - bucket.updatedAtMs) * bucket.bytesPerSecond) / 1000;
  const levelBytes = Math.min(bucket.burstBytes, bucket.levelBytes + earned) - bytes;
  const waitMs = levelBytes >= 0 ? 0 : (-levelBytes * 1000) / bucket.bytesPerSecond;
  return { bucket: { ...bucket, levelBytes, updatedAtMs: now }, waitMs };
}

/** @param bytesPerSecond 0: no limit */
export function newBandwidthLimiter(bytesPerSecond: number, clock: Clock): BandwidthLimiter {
  if (bytesPerSecond <= 0) return { take: async () => {} };
  let bucket = newBucket(bytesPerSecond, clock.monotonicMs());
  return {
    async take(bytes, signal) {
      const charged = charge(bucket, bytes, clock.monotonicMs());
      bucket = charged.bucket;
      if (charged.waitMs > 0) await sleep(clock, charged.waitMs, signal);
      if (signal?.aborted === true) throw new HoldfastError('CANCELLED', 'cancelled while waiting for bandwidth');
    },
  };
}
