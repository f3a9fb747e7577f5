// What is to be done about the warm copies of plans, now. Pure: wishes, rows and the time are values.
//
// Hazards: a copy that overwrites what serves; a queue that fills while a standby is away; one source that keeps a standby from all others.
//
// Invariants (due.property.test.ts):
//   WK1 nothing is done for a plan while a real run of it is not over, and a copy is kept only on the present standby;
//   WK2 a copy has one job at a time, a host at most HOST_JOBS_MAX; whatever came meanwhile, the next one brings the newest;
//   WK3 a copy that is current has no job; one that failed waits longer each time, at most RETRY_MAX_MS;
//   WK4 a copy that nobody wishes for any more, there, is released, and asked for that until its host has done it.

export interface WarmWish {
  readonly planId: string;
  readonly sourceId: string;
  /** The present standby. */
  readonly hostId: string;
  readonly kind: 'files' | 'postgres';
  readonly target: string;
  /** Hex; '': nothing is stored yet. Of a database: its newest base. */
  readonly newest: string;
  /** Of a database's log: the newest; 0 for files. */
  readonly timeline: number;
  readonly domainId: string;
  /** Of a database: what its step says. */
  readonly port: number;
  readonly options: Readonly<Record<string, string>>;
}

export interface WarmCopy {
  readonly planId: string;
  readonly sourceId: string;
  readonly hostId: string;
  readonly kind: 'files' | 'postgres';
  readonly target: string;
  /** A job of it waits or runs. */
  readonly busy: boolean;
  /** Hex; '': nothing yet. */
  readonly applied: string;
  readonly timeline: number;
  readonly grantUntilMs: number;
  readonly failures: number;
  readonly triedAtMs: number;
  /** What the host says of a database's copy. */
  readonly state: string;
  /** Its host was told to release it, and has not done it yet. */
  readonly releasing: boolean;
}

export interface WarmState {
  readonly wishes: readonly WarmWish[];
  readonly copies: readonly WarmCopy[];
  /** Plans with a real run that is not over, or is about to begin. */
  readonly running: ReadonlySet<string>;
  readonly nowMs: number;
}

export type WarmAction =
  | { readonly kind: 'keep'; readonly wish: WarmWish }
  | { readonly kind: 'release'; readonly copy: WarmCopy };

export const HOST_JOBS_MAX = 2;
const RETRY_FIRST_MS = 10_000;
export const RETRY_MAX_MS = 900_000;
/** A grant is renewed when less than that is left of it. */
export const RENEW_BEFORE_MS = 3 * 86_400_000;

export function dueOf({ wishes, copies, running, nowMs }: WarmState): WarmAction[] {
  const actions: WarmAction[] = [];
  const jobs = new Map<string, number>();
  for (const copy of copies) if (copy.busy) jobs.set(copy.hostId, (jobs.get(copy.hostId) ?? 0) + 1);
  for (const copy of copies) {
    if (running.has(copy.planId) || copy.busy) continue;
    if (wishes.some((wish) => isSame(wish, copy))) continue;
    if (!copy.releasing || isWaitedFor(copy, nowMs)) actions.push({ kind: 'release', copy });
  }
  for (const wish of wishes) {
    if (running.has(wish.planId) || wish.newest === '') continue;
    const busy = jobs.get(wish.hostId) ?? 0;
    if (busy >= HOST_JOBS_MAX) continue;
    // One on another host, or elsewhere, is released first.
    const known = copies.find((copy) => copy.planId === wish.planId && copy.sourceId === wish.sourceId);
    if (known !== undefined && (!isSame(wish, known) || known.busy || !isDue(wish, known, nowMs))) continue;
    jobs.set(wish.hostId, busy + 1);
    actions.push({ kind: 'keep', wish });
  }
  return actions;
}

function isSame(wish: WarmWish, copy: WarmCopy): boolean {
  return (
    !copy.releasing &&
    wish.planId === copy.planId &&
    wish.sourceId === copy.sourceId &&
    wish.hostId === copy.hostId &&
    wish.kind === copy.kind &&
    wish.target === copy.target
  );
}

function isDue(wish: WarmWish, copy: WarmCopy, nowMs: number): boolean {
  if (copy.failures > 0) return isWaitedFor(copy, nowMs);
  if (copy.applied === '') return true;
  // A database follows its log by itself; a new base changes nothing for it.
  if (wish.kind === 'files') return copy.applied !== wish.newest;
  return copy.state === 'broken' || wish.timeline !== copy.timeline || copy.grantUntilMs - nowMs < RENEW_BEFORE_MS;
}

function isWaitedFor({ failures, triedAtMs }: WarmCopy, nowMs: number): boolean {
  if (failures === 0) return true;
  return nowMs >= triedAtMs + Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures - 1, 10));
}
