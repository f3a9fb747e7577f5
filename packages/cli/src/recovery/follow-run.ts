// Follows a run: what it is, its steps and its events, through a controller that goes away and another that takes over.
//
// Hazard: the command line is not the run. A lost connection is no failure of the run and is taken up again where it was lost; Ctrl-C stops
// following, and says that the run goes on. A run that waits for a decision, followed by a program that can't decide, would be followed
// for ever: then the following ends, and says so.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { RunInfo, RunNews } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { EXIT_WARNINGS } from '../jobs/summary.ts';
import type { Session } from '../session/session.ts';
import type { FollowedRun } from './followed-run.ts';
import { LiveTable } from './live-table.ts';
import { eventFields, eventLine, runFields, stepFields } from './run-words.ts';

export interface FollowOptions {
  /** served: until the application is up (or never will be by this run). ended: until nothing happens any more. */
  readonly until: 'served' | 'ended';
  /** Nobody is there to decide: a run that pauses is followed no further. */
  readonly unattended: boolean;
  /** One JSON line for each of the news. */
  readonly events: boolean;
}

const ENDED = new Set(['done', 'cancelled', 'rolled-back', 'failed', 'split-brain-suspected', 'clean-up-incomplete']);
/** Healthy, seen from outside: what is left is for people and for later. */
const SERVED = new Set(['awaiting-commit', 'committed', 'reprotecting']);

const RECONNECT_MS = 120_000;
const RECONNECT_PAUSE_MS = 500;

/** Returns where it stands when the following ends. Throws when the run can't be followed: UNREACHABLE, NOT_FOUND, CANCELLED by Ctrl-C. */
export async function followRun(session: Session, id: string, options: FollowOptions): Promise<FollowedRun> {
  const { environment } = session;
  const table =
    environment.stderrIsTerminal && !session.json
      ? new LiveTable(environment.stderr, environment.columns, environment.rows, environment.now)
      : undefined;
  const leaving = new AbortController();
  const stopListening = environment.onInterrupt(() => leaving.abort());
  const ticking = table === undefined ? undefined : setInterval(() => table.draw(), 1000);
  try {
    return await watch(session, id, { options, table, leaving: leaving.signal });
  } finally {
    clearInterval(ticking);
    table?.clear();
    stopListening();
  }
}

interface Watch {
  readonly options: FollowOptions;
  readonly table: LiveTable | undefined;
  readonly leaving: AbortSignal;
}

async function watch(session: Session, id: string, { options, table, leaving }: Watch): Promise<FollowedRun> {
  const followed: FollowedRun = { run: undefined, steps: new Map(), events: [] };
  const recovery = await session.recovery();
  const domain = await session.domain();
  let lostAtMs: number | undefined;
  for (;;) {
    try {
      const request = { domain, run: id, after: followed.events.at(-1)?.sequence ?? 0n };
      for await (const news of recovery.watchRun(request, { signal: leaving })) {
        lostAtMs = undefined;
        if (note(followed, news) && options.events) await session.event(newsFields(news));
        if (!session.json && table === undefined) await tellWords(session, followed, news);
        table?.show(followed);
        if (isOver(followed.run, options)) return followed;
      }
      throw new HoldfastError('UNREACHABLE', `the controller ended the report of run ${id}`, {
        hint: `Follow it again: holdfast run watch ${id}`,
      });
    } catch (thrown) {
      const error = leaving.aborted ? left(id) : toHoldfastError(thrown);
      const nowMs = session.environment.now();
      lostAtMs ??= nowMs;
      if (error.code !== 'UNREACHABLE' || nowMs - lostAtMs > RECONNECT_MS) throw error;
      await pause(RECONNECT_PAUSE_MS, leaving);
    }
  }
}

/** False for what is known already: the controller says it again from time to time. */
function note(followed: FollowedRun, { kind }: RunNews): boolean {
  if (kind === undefined) return false;
  const before =
    kind.$case === 'run' ? followed.run : kind.$case === 'step' ? followed.steps.get(kind.value.id) : undefined;
  if (before !== undefined && wireText(before) === wireText(kind.value)) return false;
  if (kind.$case === 'run') followed.run = kind.value;
  else if (kind.$case === 'step') followed.steps.set(kind.value.id, kind.value);
  else {
    const last = followed.events.at(-1);
    if (last !== undefined && kind.value.sequence <= last.sequence) return false;
    followed.events.push(kind.value);
  }
  return true;
}

function wireText(value: object): string {
  return JSON.stringify(value, (_, held: unknown) => (typeof held === 'bigint' ? held.toString() : held));
}

function newsFields({ kind }: RunNews): object {
  if (kind?.$case === 'run') return { event: 'run', ...runFields(kind.value) };
  if (kind?.$case === 'step') return { event: 'step', ...stepFields(kind.value) };
  return kind === undefined ? {} : { event: 'event', ...eventFields(kind.value) };
}

/** Where there is no terminal: a line for each event, as it comes. */
async function tellWords(session: Session, followed: FollowedRun, { kind }: RunNews): Promise<void> {
  if (kind?.$case === 'event')
    await session.write(eventLine(kind.value, Number(followed.run?.startedAtMs ?? kind.value.atMs)));
}

function isOver(run: RunInfo | undefined, { until, unattended }: FollowOptions): boolean {
  if (run === undefined) return false;
  if (ENDED.has(run.state)) return true;
  if (until === 'served' && SERVED.has(run.state)) return true;
  return unattended && (run.state === 'paused' || run.state === 'awaiting-approval');
}

/** What the shell gets, as an error where the run did not do what it was for. Sets 3 where something is left over. */
export function judgeRun(session: Session, run: RunInfo): HoldfastError | undefined {
  const { id, state, reason } = run;
  if (state === 'done' || SERVED.has(state)) return undefined;
  const why = reason === '' ? '' : `: ${reason}`;
  if (state === 'clean-up-incomplete') {
    session.exitCode = EXIT_WARNINGS;
    session.remark(`Something of the drill is left on ${run.toHost}${why}`);
    return undefined;
  }
  if (state === 'paused') {
    return new HoldfastError('FAILED_PRECONDITION', `run ${id} is paused${why}`, {
      hint: `See holdfast run show ${id}; then holdfast run retry, skip, resume, abort or rollback`,
    });
  }
  if (state === 'awaiting-approval') {
    return new HoldfastError('FAILED_PRECONDITION', `run ${id} waits for an approval${why}`, {
      hint: `holdfast run approve ${id}`,
    });
  }
  if (state === 'cancelled') return new HoldfastError('CANCELLED', `run ${id} was cancelled${why}`);
  return new HoldfastError('FAILED_PRECONDITION', `run ${id} ended ${state}${why}`, {
    hint: `holdfast run show ${id}`,
  });
}

function left(id: string): HoldfastError {
  return new HoldfastError('CANCELLED', `left run ${id}, which goes on`, {
    hint: `Follow it with: holdfast run watch ${id}; end it with: holdfast run abort ${id}`,
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
