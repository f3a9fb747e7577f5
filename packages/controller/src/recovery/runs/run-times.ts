// When each part of a run was over: what its measured times are made of. Pure.
//
// Hazard: a time that flatters. A database that answers before the application was started says nothing of the application. So nothing is
// healthy before its last start, nor before traffic goes to it, and only what a check has seen counts.
//
// Tested in run-times.test.ts.

import { allDone } from './run-machine.ts';
import type { RunRow, RunTimes, StepRow } from './run-view.ts';
import { isDone } from './scheduler.ts';
import { isCheck, isRestore } from './step-policy.ts';

/** Those that the run has already, and what its steps say now: one that is tried again takes its time back. */
export function timesOf(steps: readonly StepRow[], run: Pick<RunRow, 'mode' | 'fromHost' | 'times'>): RunTimes {
  const { lastSignOfLife, suspected, declaredDead, approved } = run.times;
  // Planned, the last sign of life is the moment from which the old primary is asked to stop.
  const stops =
    run.mode !== 'planned' ? [] : steps.filter(({ spec }) => spec.type === 'service.stop' || spec.type === 'fence');
  const stopped = stops.flatMap(({ startedAt, hostId }) =>
    startedAt === null || hostId !== run.fromHost ? [] : startedAt.getTime(),
  );
  const at = (which: (step: StepRow) => boolean): number | undefined => allDone(steps, which)?.getTime() || undefined;
  const times = {
    lastSignOfLife: stopped.length === 0 ? lastSignOfLife : Math.min(...stopped),
    suspected,
    declaredDead,
    approved,
    fenced: at(({ spec }) => spec.type === 'fence'),
    restored: at(({ spec }) => isRestore(spec.type)),
    started: at(({ spec }) => spec.type === 'service.start'),
    switched: at(({ spec }) => spec.type === 'traffic'),
    healthy: healthyAt(steps),
  };
  return Object.fromEntries(Object.entries(times).filter(([, ms]) => ms !== undefined));
}

/**
 * When the last check was well, behind the last start and the last switch of traffic, ms; of checks from outside alone, where there are any.
 * Undefined: nobody has seen it yet.
 */
export function healthyAt(steps: readonly StepRow[]): number | undefined {
  const brings = steps.filter(({ spec }) => spec.type === 'service.start' || spec.type === 'traffic');
  const checks = steps.filter(({ spec, state }) => isCheck(spec.type) && state !== 'skipped');
  const outside = checks.filter(({ spec }) => spec.type === 'check.http' && spec.from !== undefined);
  const looks = outside.length > 0 ? outside : checks;
  const isOver = ({ state, spec }: StepRow): boolean => isDone({ state, critical: spec.critical });
  if (!brings.every(isOver) || !looks.every(isOver)) return undefined;
  const serves = newest(brings);
  const seen = newest(looks.filter(({ state }) => state === 'ok'));
  return seen > 0 && seen >= serves ? seen : undefined;
}

function newest(steps: readonly StepRow[]): number {
  return Math.max(0, ...steps.map((step) => step.finishedAt?.getTime() ?? 0));
}
