// What the customers saw, and what the hosts say about who served them.
//
// Hazard: a failover that looks fine from where it was decided. So nothing of the product is asked: the customers' answers, with their
// times, and each host's own log of the writes that it committed. All hosts of a lab are on one kernel: its monotonic clock orders
// what happened on any of them.
//
// Pure. Tested in load-report.test.ts.

/** An order that a customer tried to place. Times in milliseconds of the machine's monotonic clock. */
export interface OrderAttempt {
  /** Of the wall clock, ISO 8601. */
  readonly sentAt: string;
  readonly sentMs: number;
  readonly endedMs: number;
  /** Of HTTP; 0: there was no answer. */
  readonly status: number;
  /** Of an order that was acknowledged. */
  readonly id?: string;
  /** Who acknowledged it. */
  readonly host?: string;
  readonly error?: string;
}

/** A write that a host took, by its own log. */
export interface HostWrite {
  readonly host: string;
  readonly id: string;
  readonly began: number;
  /** null: it failed, and nobody was told that it was done. */
  readonly committed: number | null;
}

/** A stretch of time in which one host alone acknowledged orders. */
interface Turn {
  readonly host: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly orders: number;
}

/** No order was acknowledged in between. */
interface Outage {
  /** When the last order before it was acknowledged. */
  readonly fromMs: number;
  /** When the first one after it was; undefined: none was. */
  readonly toMs: number | undefined;
  readonly lengthMs: number;
}

export interface LoadReport {
  readonly attempts: number;
  readonly acknowledged: number;
  readonly turns: readonly Turn[];
  /** Longest first. */
  readonly outages: readonly Outage[];
  /** The longest time without an acknowledged order. */
  readonly withoutServiceMs: number;
}

/** Shorter than that, a pause between two acknowledged orders is none. */
const OUTAGE_MS = 500;

export function reportOf(attempts: readonly OrderAttempt[]): LoadReport {
  const acknowledged = attempts
    .filter(({ status, id }) => status === 201 && id !== undefined)
    .toSorted((a, b) => a.endedMs - b.endedMs);
  const outages: Outage[] = [];
  let before = attempts.reduce((first, { sentMs }) => Math.min(first, sentMs), Number.POSITIVE_INFINITY);
  for (const { endedMs } of acknowledged) {
    if (endedMs - before > OUTAGE_MS) outages.push({ fromMs: before, toMs: endedMs, lengthMs: endedMs - before });
    before = endedMs;
  }
  const end = attempts.reduce((last, { endedMs }) => Math.max(last, endedMs), 0);
  if (end - before > OUTAGE_MS) outages.push({ fromMs: before, toMs: undefined, lengthMs: end - before });
  outages.sort((a, b) => b.lengthMs - a.lengthMs);
  return {
    attempts: attempts.length,
    acknowledged: acknowledged.length,
    turns: turnsOf(acknowledged),
    outages,
    withoutServiceMs: outages[0]?.lengthMs ?? 0,
  };
}

function turnsOf(acknowledged: readonly OrderAttempt[]): Turn[] {
  const turns: Turn[] = [];
  for (const { host = '', endedMs } of acknowledged) {
    const last = turns.at(-1);
    if (last?.host === host) turns[turns.length - 1] = { ...last, toMs: endedMs, orders: last.orders + 1 };
    else turns.push({ host, fromMs: endedMs, toMs: endedMs, orders: 1 });
  }
  return turns;
}

/** Acknowledged orders that are not among those that are there now, in the order of their acknowledgement. */
export function lostOrders(attempts: readonly OrderAttempt[], present: ReadonlySet<string>): OrderAttempt[] {
  return attempts
    .filter(({ status, id }) => status === 201 && id !== undefined && !present.has(id))
    .toSorted((a, b) => a.endedMs - b.endedMs);
}

/** Two hosts took writes at the same time: a write of one overlaps one of the other, or stands between two of one turn. */
export interface Overlap {
  readonly first: HostWrite;
  readonly second: HostWrite;
}

/**
 * @param switches how often the service has moved: so many changes of the host are no overlap, as long as no two writes are under way at once
 */
export function overlaps(writes: readonly HostWrite[], switches: number): Overlap[] {
  const committed = writes.filter(({ committed: at }) => at !== null).toSorted((a, b) => a.began - b.began);
  const found: Overlap[] = [];
  const changes: Overlap[] = [];
  /** Of each host, the write that ended last. */
  const latest = new Map<string, HostWrite>();
  let previous: HostWrite | undefined;
  for (const write of committed) {
    for (const [host, other] of latest) {
      if (host !== write.host && other.committed! > write.began) found.push({ first: other, second: write });
    }
    if (previous !== undefined && previous.host !== write.host) changes.push({ first: previous, second: write });
    const own = latest.get(write.host);
    if (own === undefined || own.committed! < write.committed!) latest.set(write.host, write);
    previous = write;
  }
  return changes.length > switches ? [...found, ...changes.slice(switches)] : found;
}

/** Lines of JSON; a last line that was cut by a kill is left out. */
export function parseLines<Line>(text: string): Line[] {
  return text
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Line];
      } catch {
        return []; // half a line, and a boot later the next one behind it
      }
    });
}
