// Waiting for what a lab does by itself.

import { setTimeout as sleep } from 'node:timers/promises';

const READY_MS = 90_000;
const POLL_MS = 100;

/**
 * Polls until `look` finds nothing missing. Throws with what it said last.
 * @param pollMs between two looks: one that runs a program takes a third of a second of a core, from what it looks at, too
 */
export async function eventually(
  what: string,
  look: () => Promise<string | undefined>,
  timeoutMs = READY_MS,
  pollMs = POLL_MS,
): Promise<void> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    const missing = await look();
    if (missing === undefined) return;
    if (performance.now() > until) throw new Error(`waited in vain until ${what}: ${missing}`);
    await sleep(pollMs);
  }
}
