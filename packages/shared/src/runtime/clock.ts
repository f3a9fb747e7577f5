// Time as a dependency, so that whatever waits or measures can be run by a test without waiting.
//
// Hazard: the wall clock jumps (threats 12, 13). What decides about durations uses `monotonicMs`; `wallMs` is for people
// and records, and never compared with another machine's.

export interface Clock {
  /** Milliseconds since some fixed moment of this process; never goes back. */
  monotonicMs(): number;
  /** Milliseconds since 1970, as the machine believes. */
  wallMs(): number;
  /** Calls back once, after at least `delayMs`. A pending timer does not keep the process alive when `background`. */
  after(delayMs: number, callback: () => void, options?: { readonly background?: boolean }): Timer;
}

export interface Timer {
  cancel(): void;
}

/** The longest delay that a Node timer keeps; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback, options) {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), MAX_DELAY_MS));
    if (options?.background === true) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after `delayMs`, or at once (without throwing) when the signal is aborted; check the signal afterwards. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}
