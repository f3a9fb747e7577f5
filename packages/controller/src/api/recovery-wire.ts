// Rows of recovery ⇄ messages: what a job said, and plans, runs, steps and events as operators see them.
//
// Tested in recovery.db.test.ts.

import { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type {
  PlanFinding as WireFinding,
  RunEvent,
  RunInfo,
  StepInfo,
} from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import type { PlanFinding } from '../recovery/plans/placement.ts';
import type { ReadOutcome, RunEventRow } from '../recovery/runs/run-store.ts';
import type { ShownStep } from '../recovery/runs/run-store.ts';
import type { Report, RunRow, RunTimes } from '../recovery/runs/run-view.ts';
import { msOf } from './operator-wire.ts';

const STATES = new Set(['ok', 'failed', 'unknown', 'done', 'not-done', 'running']);

/** A job without an outcome ended without its host: nobody can tell what became of the work. */
export const readOutcome: ReadOutcome = ({ kind, state, outcome, errorMessage }): Report => {
  const nothing = { remedy: '', output: '', facts: {} };
  if (outcome === null) {
    const message = errorMessage === '' ? `the job was ${state} before its host reported` : errorMessage;
    return { state: state === 'cancelled' ? 'failed' : 'lost', message, ...nothing };
  }
  const said = JobOutcome.decode(outcome);
  if (kind === 'step' && said.step !== undefined && STATES.has(said.step.state)) {
    const { message, remedy, output, facts } = said.step;
    return {
      state: said.step.state as Report['state'],
      message,
      remedy,
      output: output.toString('utf8'),
      facts: Object.fromEntries(facts.map(({ name, value }) => [name, value])),
    };
  }
  const well = state === 'done' || state === 'warnings';
  if (kind === 'step' || !well) {
    const message = said.errorMessage || errorMessage || `the host said ${said.result}`;
    return { ...nothing, state: 'failed', message, remedy: said.errorHint };
  }
  return { ...nothing, state: 'ok', message: '', facts: factsOf(said) };
};

/** What the report and the forecast want to know of a backup or a restore. */
function factsOf({ summary, reached, planned }: JobOutcome): Record<string, string> {
  const facts: Record<string, string> = {};
  if (summary !== undefined) {
    facts['bytes'] = String(summary.bytesTotal);
    facts['bytes-read'] = String(summary.bytesRead);
    facts['duration-ms'] = String(summary.durationMs);
    if (summary.snapshotId.length > 0) facts['snapshot'] = summary.snapshotId.toString('hex');
  }
  if (planned !== undefined) facts['bytes-fetched'] = String(planned.bytesFetched);
  if (reached !== undefined) {
    if (reached.lastCommitAtMs > 0n) facts['reached-at-ms'] = String(reached.lastCommitAtMs);
    facts['replay-ms'] = String(reached.replayMs);
    if (reached.position !== undefined) facts['reached'] = reached.position.text;
    for (const { name, value } of reached.facts) facts[name] = value;
  }
  return facts;
}

export function findingToWire(finding: PlanFinding): DeepPartial<WireFinding> {
  return { ...finding };
}

export function runToWire(run: RunRow): DeepPartial<RunInfo> {
  return {
    id: run.id,
    plan: run.planName,
    revision: run.revision,
    mode: run.mode,
    ahead: run.ahead,
    state: run.state,
    reason: run.reason,
    fromHost: run.fromName,
    toHost: run.toName,
    epoch: BigInt(run.epoch),
    startedBy: run.startedBy,
    startedAtMs: msOf(run.startedAt),
    finishedAtMs: msOf(run.finishedAt),
    times: timesToWire(run.times),
    recoveryPointMs: BigInt(Math.round(run.point.atMs)),
    pointFindings: [...run.point.findings],
  };
}

function timesToWire(times: RunTimes): DeepPartial<RunInfo['times']> {
  const ms = (value: number | undefined): bigint => BigInt(Math.round(value ?? 0));
  return {
    lastSignOfLifeMs: ms(times.lastSignOfLife),
    suspectedMs: ms(times.suspected),
    declaredDeadMs: ms(times.declaredDead),
    approvedMs: ms(times.approved),
    fencedMs: ms(times.fenced),
    restoredMs: ms(times.restored),
    startedMs: ms(times.started),
    switchedMs: ms(times.switched),
    healthyMs: ms(times.healthy),
  };
}

export function stepToWire(step: ShownStep): DeepPartial<StepInfo> {
  return {
    id: step.id,
    type: step.spec.type,
    host: step.hostName,
    state: step.state,
    attempt: step.attempt,
    needs: step.spec.needs,
    startedAtMs: msOf(step.startedAt),
    finishedAtMs: msOf(step.finishedAt),
    message: step.message,
    remedy: step.remedy,
    output: step.output,
    facts: Object.entries(step.facts).map(([name, value]) => ({ name, value })),
  };
}

export function eventToWire(event: RunEventRow): DeepPartial<RunEvent> {
  const { sequence, at, actor, step, kind, message } = event;
  return { sequence: BigInt(sequence), atMs: msOf(at), actor, step, kind, message };
}
