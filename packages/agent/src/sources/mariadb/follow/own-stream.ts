// Which stream a server's log is to this agent: read from the record, held against the server, or begun. One at a time for each
// source: a base and the guard may ask at once, and must get the same answer.

import type { LogEnd } from '@holdfast/shared/format/log-point';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { serverLog, variablesOf, type Asks } from '../server-facts.ts';
import { begin, planResume, type ResumePlan } from './resume-plan.ts';
import { loadRecord, saveRecord, type StreamRecord } from './stream-record.ts';

const turns = new Map<string, Promise<unknown>>();

/** Runs `work` after whatever else is under way for the source. */
async function inTurn<T>(sourceId: string, work: () => Promise<T>): Promise<T> {
  const before = turns.get(sourceId) ?? Promise.resolve();
  const mine = before.then(work, work);
  turns.set(
    sourceId,
    mine.catch(() => undefined),
  );
  return mine;
}

export interface OwnStreamDeps {
  readonly stateDir: string;
  readonly sourceId: string;
  readonly clock: Clock;
}

/** Where the guard goes on; the record is saved before it is followed. @param anew the log was found to be another one: why */
export async function resumeStream(
  server: Asks,
  ends: readonly LogEnd[],
  anew: string,
  deps: OwnStreamDeps,
): Promise<ResumePlan> {
  return inTurn(deps.sourceId, async () => {
    const log = await serverLog(server, await variablesOf(server));
    const record = loadRecord(deps.stateDir, deps.sourceId);
    const current = log.files.at(-1)?.name ?? '';
    const plan = anew === '' ? planResume(record, ends, log, deps.clock.wallMs()) : begin(log, current, anew);
    if (plan.record !== record) saveRecord(deps.stateDir, deps.sourceId, plan.record);
    return plan;
  });
}

/** The stream that a base stands in. The guard finds out whether it is still the server's; until then the record is believed. */
export async function currentStream(server: Asks, deps: OwnStreamDeps): Promise<StreamRecord> {
  return inTurn(deps.sourceId, async () => {
    const log = await serverLog(server, await variablesOf(server));
    const record = loadRecord(deps.stateDir, deps.sourceId);
    if (record !== undefined && record.server === log.server) return record;
    const plan = begin(log, log.files.at(-1)?.name ?? '', '');
    saveRecord(deps.stateDir, deps.sourceId, plan.record);
    return plan.record;
  });
}
