// The moments of a run, and what they measure: how long the application was away, and how much was lost.
//
// Measured RTO is from the last sign of life to healthy, seen from outside; measured RPO is from the recovery point to the last sign of
// life. A drill ends no life: it counts from its start. A planned run counts from the moment at which the primary stopped serving, which
// is what the engine records as its last sign of life.
//
// Pure. Tested in report.test.ts.

/** Unix ms of the catalog's clock; undefined: it did not happen (yet). In the order in which they should come. */
export interface RunMoments {
  readonly lastSignOfLife?: number | undefined;
  readonly suspected?: number | undefined;
  readonly declaredDead?: number | undefined;
  readonly approved?: number | undefined;
  readonly fenced?: number | undefined;
  readonly restored?: number | undefined;
  readonly started?: number | undefined;
  readonly switched?: number | undefined;
  readonly healthy?: number | undefined;
}

/** Their names for people, in order. */
export const MOMENTS = [
  ['lastSignOfLife', 'last sign of life'],
  ['suspected', 'suspected'],
  ['declaredDead', 'declared dead'],
  ['approved', 'approved'],
  ['fenced', 'fenced'],
  ['restored', 'restored'],
  ['started', 'started'],
  ['switched', 'traffic switched'],
  ['healthy', 'healthy from outside'],
] as const satisfies readonly (readonly [keyof RunMoments, string])[];

export interface MeasuredRun {
  readonly mode: string;
  readonly startedAtMs: number;
  readonly recoveryPointMs: number | undefined;
  readonly moments: RunMoments;
}

export interface Measured {
  readonly rtoMs: number | undefined;
  readonly rpoMs: number | undefined;
}

/** What is not known yet is undefined. */
export function measureRun({ mode, startedAtMs, recoveryPointMs, moments }: MeasuredRun): Measured {
  const from = mode === 'drill' ? startedAtMs : (moments.lastSignOfLife ?? startedAtMs);
  const to = moments.healthy ?? (mode === 'drill' ? moments.started : undefined);
  return {
    rtoMs: to === undefined ? undefined : Math.max(0, to - from),
    rpoMs: recoveryPointMs === undefined ? undefined : Math.max(0, from - recoveryPointMs),
  };
}
