// When to call the controller again after the control stream ended. Pure: how it ended and a random number are arguments.
//
// Invariants (reconnect.property.test.ts): W1 a wait is never longer than the cap of its kind; W2 after a stream that was
// stable for a minute the next wait starts small again; W3 a refusal (revoked, unknown, another protocol) is asked again
// slowly, and an operator's log says what to do; W4 no wait is 0 twice in a row, whatever the random numbers; W5 after a stream that
// was welcomed, however short, the next wait is at most WELCOMED_MAX_MS.
//
// The caps are what a link that has healed is still waited for, and what a controller that comes back is met by. Five thousand hosts
// that wait up to 10 s, evenly spread, come at a thousand a second at first and have all come after ten. A controller that makes
// 600 handshakes a second is then never more than about 800, that is 1.3 s, behind: well within CONNECT_WITHIN_MS (rpc/calls.ts), so
// that nobody gives up a handshake and asks for another. A welcome shortens waits without harm: a controller that can't keep up
// welcomes nobody. Sessions of work (WORK_LOST) are few, and each has somebody waiting for it.

import type { ErrorCode } from '@holdfast/shared/base/errors';
import { backoffMs, type Backoff } from '@holdfast/shared/runtime/retry';

export interface ReconnectState {
  /** Streams in a row that ended before they were stable. */
  readonly failures: number;
}

export interface StreamEnd {
  /** Undefined: the controller ended it in good order (it is stopping, say). */
  readonly code: ErrorCode | undefined;
  /** How long the stream was welcome; 0 when it never was. */
  readonly connectedForMs: number;
}

export interface ReconnectDecision {
  readonly state: ReconnectState;
  readonly waitMs: number;
  /** refused: only a person can change it. */
  readonly kind: 'lost' | 'refused';
}

export const STABLE_MS = 60_000;
export const LOST: Backoff = { firstMs: 500, capMs: 10_000 };
/** Of streams that carry a job's data, which decide themselves how long they try. */
export const WORK_LOST: Backoff = { firstMs: 250, capMs: 5000 };
export const REFUSED: Backoff = { firstMs: 60_000, capMs: 600_000 };
/** The link carries and the controller serves: what was lost before counts for little. */
const WELCOMED_FAILURES_MAX = 2;
export const WELCOMED_MAX_MS = LOST.firstMs * 2 ** WELCOMED_FAILURES_MAX;
/** Full jitter may say 0; the controller's door is not knocked at in a loop. */
const LEAST_MS = 100;

const REFUSALS: ReadonlySet<ErrorCode> = new Set(['UNAUTHENTICATED', 'NOT_ALLOWED', 'UNSUPPORTED_VERSION']);

export const NEVER_CONNECTED: ReconnectState = { failures: 0 };

/** @param random uniform in [0, 1) */
export function afterStreamEnd(state: ReconnectState, end: StreamEnd, random: number): ReconnectDecision {
  const failures = failuresThatCount(state, end.connectedForMs) + 1;
  if (end.code !== undefined && REFUSALS.has(end.code)) {
    // Never less than half: a refusal does not get better by asking soon.
    const waitMs = backoffMs(REFUSED, failures, 0.5 + random / 2);
    return { state: { failures }, waitMs, kind: 'refused' };
  }
  return { state: { failures }, waitMs: Math.max(LEAST_MS, backoffMs(LOST, failures, random)), kind: 'lost' };
}

function failuresThatCount({ failures }: ReconnectState, connectedForMs: number): number {
  if (connectedForMs >= STABLE_MS) return 0;
  return connectedForMs > 0 ? Math.min(failures, WELCOMED_FAILURES_MAX) : failures;
}
