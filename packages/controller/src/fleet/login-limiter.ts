// How often somebody may try a password.
//
// Hazard: guessing. After FREE_FAILURES wrong ones a name, and an address, must wait; the wait doubles with each further
// failure. The name's own wait is bounded, so that nobody can be locked out for long by others' failures.
//
// Invariants (login-limiter.test.ts): a right password forgets the name's failures; the table of names and addresses is
// bounded; time is an argument.

import { HoldfastError } from '@holdfast/shared/base/errors';

export const FREE_FAILURES = 5;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
const FORGET_AFTER_MS = 900_000;
const KEYS_MAX = 10_000;

interface Failures {
  count: number;
  lastAtMs: number;
}

export interface LoginLimiter {
  /** Throws LIMIT_EXCEEDED while any of the keys has to wait. */
  check(keys: readonly string[], nowMs: number): void;
  failed(keys: readonly string[], nowMs: number): void;
  succeeded(key: string): void;
}

export function makeLoginLimiter(): LoginLimiter {
  const failures = new Map<string, Failures>();
  return {
    check(keys, nowMs) {
      for (const key of keys) {
        const waitMs = waitOf(failures.get(key), nowMs);
        if (waitMs > 0) {
          throw new HoldfastError('LIMIT_EXCEEDED', `too many failed attempts: wait ${Math.ceil(waitMs / 1000)} s`, {
            details: { waitMs },
          });
        }
      }
    },
    failed(keys, nowMs) {
      for (const key of keys) {
        const known = failures.get(key);
        const count = known !== undefined && nowMs - known.lastAtMs < FORGET_AFTER_MS ? known.count + 1 : 1;
        failures.delete(key);
        failures.set(key, { count, lastAtMs: nowMs });
      }
      // The oldest go first: a Map keeps the order in which keys were set.
      for (const key of failures.keys()) {
        if (failures.size <= KEYS_MAX) break;
        failures.delete(key);
      }
    },
    succeeded(key) {
      failures.delete(key);
    },
  };
}

function waitOf(known: Failures | undefined, nowMs: number): number {
  if (known === undefined || known.count < FREE_FAILURES) return 0;
  const wait = Math.min(FIRST_WAIT_MS * 2 ** (known.count - FREE_FAILURES), LONGEST_WAIT_MS);
  return known.lastAtMs + wait - nowMs;
}
