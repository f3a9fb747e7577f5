// When the next base is due. Pure: time and chance are arguments.
//
// Hazard: many sources of one agent, or a fleet that was started at once, all taking their base in the same minute. A regular base is
// due within a tenth of its interval around its time; one that is needed now (none yet, a gap) starts within a few seconds.

import { backoffMs } from '@holdfast/shared/runtime/retry';

export const DEFAULT_BASE_EVERY_MS = 86_400_000;
const NEEDED_WITHIN_MS = 2000;
const RETRY = { firstMs: 30_000, capMs: 3_600_000 };

export interface BaseHistory {
  /** Unix ms by this host's clock; undefined: not known, so it counts as just now. */
  readonly lastAtMs: number | undefined;
  /** Tries since then that failed. */
  readonly failures: number;
}

/**
 * Milliseconds from now.
 * @param needed without a new base nothing, or nothing newer, can be brought back
 * @param everyMs 0: only when one is needed (Infinity is answered until then)
 * @param random uniform in [0, 1), drawn anew for each question
 */
export function nextBaseInMs(
  history: BaseHistory,
  options: { readonly needed: boolean; readonly everyMs: number; readonly nowMs: number; readonly random: number },
): number {
  const { needed, everyMs, nowMs, random } = options;
  if (history.failures > 0) return RETRY.firstMs / 2 + backoffMs(RETRY, history.failures, random);
  if (needed) return Math.round(NEEDED_WITHIN_MS * random);
  if (everyMs === 0) return Infinity;
  const spread = everyMs * (0.95 + 0.1 * random);
  const since = Math.max(0, nowMs - (history.lastAtMs ?? nowMs));
  return Math.max(Math.round(NEEDED_WITHIN_MS * random), Math.round(spread - since));
}
