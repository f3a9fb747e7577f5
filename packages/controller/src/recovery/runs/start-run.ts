// Starting a run: what is pinned then, and its first rows.
//
// Hazard: two runs that fail over one application at the same time. At most one real run of a plan is live (a unique index holds it), a real
// one puts an end to a drill, and the run of a promotion that nobody asked for is made once, however often it is told.
//
// Invariants (engine.db.test.ts):
//   SR1 one real run and one drill of a plan at a time;
//   SR2 one run for a promotion;
//   SR3 revision, hosts, epoch and recovery point are those of the start, whatever is applied later.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Mode, Step } from '@holdfast/shared/recovery/step-types';
import pg from 'pg';

import type { AppliedPlan, SignsOfDeath } from '../contract.ts';
import { lockPreparation, tryAgainWhatFailed } from './preparation-rows.ts';
import type { PinnedPoint, PointRequest } from './recovery-choice.ts';
import { PRECHECK_MS } from './run-machine.ts';
import type { RunTimes } from './run-view.ts';
import { isOwn, refusedInDrill, runsIn } from './step-policy.ts';
import type { Writer } from './transitions.ts';
import { holdTerm, writeEvents } from './transitions.ts';

export interface RunStart {
  readonly applied: AppliedPlan;
  readonly mode: Mode;
  /** A preparation: of a failover that may never come. */
  readonly ahead?: true;
  /** The promotion was there first: its epoch. */
  readonly promoted?: number;
  /** Not to begin before so many people agree. */
  readonly approvalsNeeded: number;
  /** The person who starts it agrees to it. */
  readonly approvedBy?: string;
  readonly fenceConfirmed: boolean;
  readonly signs: SignsOfDeath | undefined;
  readonly point: PinnedPoint;
  readonly writer: Writer;
}

export interface Placement {
  readonly primary: string;
  readonly standby: string;
  readonly epoch: number;
  readonly nextEpoch: number;
}

/** Who is which now. Throws NOT_FOUND. */
export async function placementOf(client: pg.ClientBase | pg.Pool, planId: string): Promise<Placement> {
  const { rows } = await client.query<Placement>(
    `select primary_host as primary, standby_host as standby, epoch, next_epoch as "nextEpoch" from application where plan_id = $1`,
    [planId],
  );
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', 'the plan has no application');
  return rows[0];
}

/** Which way a run goes: a promotion that was there first has swapped the roles already. */
export function directionOf(placement: Placement, promoted: boolean): { from: string; to: string } {
  const { primary, standby } = placement;
  return promoted ? { from: standby, to: primary } : { from: primary, to: standby };
}

/** A replica that was paused in the middle of a start keeps others from it for so long. */
const STARTS_IDLE_MS = 15_000;

/**
 * Runs of one plan are started one after the other: each sees what the one before it left. Before the term is held, so that nobody who waits here
 * keeps the application's row from leases and promotions; and not for one that stands still. Throws NOT_FOUND: of a plan that was removed
 * meanwhile none is started, for nobody would drive it, or end it.
 */
export async function holdStarts(client: pg.ClientBase, planId: string): Promise<void> {
  const { rowCount } = await client.query(
    `select set_config('idle_in_transaction_session_timeout', $2, true) from plan where id = $1 and removed_at is null for no key update`,
    [planId, String(STARTS_IDLE_MS)],
  );
  if (rowCount !== 1) throw new HoldfastError('NOT_FOUND', 'the plan was removed');
}

/** As the plan wants it, or as the person does. */
export function pointRequest(
  plan: Plan,
  asked: { readonly atMs: number; readonly latestClean: boolean; readonly mode: Mode },
  nowMs: number,
): PointRequest {
  const { align, maxAge } = plan.recoveryPoint;
  const common = { align, maxAgeMs: maxAge, nowMs, atMs: asked.atMs };
  if (asked.atMs > 0) return { ...common, kind: 'at' };
  // A planned run takes what is there when the old primary has stopped.
  const kind = asked.mode === 'planned' && !asked.latestClean ? 'latest' : plan.recoveryPoint.default;
  return { ...common, kind: asked.latestClean ? 'latest-clean' : kind };
}

/** The run's id: that of its preparation, if it has one. Throws BUSY (SR1), ALREADY_EXISTS (SR2), NOT_FOUND. */
export async function insertRun(client: pg.ClientBase, start: RunStart): Promise<string> {
  const { applied, mode, writer } = start;
  await holdStarts(client, applied.id);
  if (writer.kind === 'driver') await holdTerm(client, applied.id, writer);
  const placement = await placementOf(client, applied.id);
  const { from, to } = directionOf(placement, start.promoted !== undefined);
  const epoch = start.promoted ?? (mode === 'drill' ? placement.epoch : placement.nextEpoch);
  const prepared = adopts(start) ? await lockPreparation(client, applied, { from, to }) : undefined;
  const id = prepared ?? randomUUID();
  const proof = start.promoted !== undefined ? 'lease-ran-out' : start.fenceConfirmed ? 'person' : '';
  try {
    await client.query(
      `insert into run (id, plan_id, revision, mode, state, from_host, to_host, epoch, automatic, started_by, due_at, approvals_needed,
         fence_proof, point, times, ahead)
       values ($1, $2, $3, $4, $15, $5, $6, $7, $8, $9, now() + $10 * interval '1 ms', $11, $12, $13, $14, $16)
       on conflict (id) do update set state = excluded.state, epoch = excluded.epoch, automatic = excluded.automatic,
         started_by = excluded.started_by, started_at = excluded.started_at, due_at = excluded.due_at,
         approvals_needed = excluded.approvals_needed, fence_proof = excluded.fence_proof, point = excluded.point, times = excluded.times,
         ahead = excluded.ahead, version = run.version + 1`,
      [
        id,
        applied.id,
        applied.revision,
        mode,
        from,
        to,
        epoch,
        start.promoted !== undefined,
        writer.kind === 'person' ? writer.actor : 'detection',
        PRECHECK_MS,
        start.approvalsNeeded,
        proof,
        JSON.stringify(start.point),
        JSON.stringify(await firstTimes(client, start, from)),
        start.ahead === true ? 'preparing' : 'prechecking',
        start.ahead === true,
      ],
    );
  } catch (error) {
    throw refusedBy(error, applied.name) ?? error;
  }
  if (prepared === undefined) await insertSteps(client, id, start, { from, to });
  else await tryAgainWhatFailed(client, id);
  if (start.approvedBy !== undefined && start.approvalsNeeded > 0) {
    await client.query(
      `insert into run_approval (run_id, step_id, operator, reason) values ($1, '', $2, 'started it')`,
      [id, start.approvedBy],
    );
  }
  const notes = start.point.findings.map((message) => ({ step: '', kind: 'note' as const, message }));
  await writeEvents(client, id, writer, [{ step: '', kind: 'state', message: beginningOf(start, prepared) }, ...notes]);
  return id;
}

/** PR3. A planned run has other steps, and a drill other places. */
function adopts({ mode, ahead }: RunStart): boolean {
  return mode === 'unplanned' && ahead !== true;
}

function beginningOf({ promoted, ahead }: RunStart, prepared: string | undefined): string {
  if (ahead === true) return 'the primary is suspected: what may run ahead runs';
  const because = promoted === undefined ? '' : ` after the promotion under epoch ${promoted}`;
  return `started${because}${prepared === undefined ? '' : ', with what ran ahead'}`;
}

function refusedBy(error: unknown, plan: string): HoldfastError | undefined {
  if (!(error instanceof pg.DatabaseError)) return undefined;
  if (error.constraint === 'one_automatic_run')
    return new HoldfastError('ALREADY_EXISTS', 'this promotion has its run');
  if (!['one_real_run', 'one_drill', 'one_preparation'].includes(error.constraint ?? '')) return undefined;
  return new HoldfastError('BUSY', `a run of ${plan} goes on`, {
    hint: `See: holdfast run ls ${plan}; commit or abort it first.`,
  });
}

/** Wall clock of the catalog; signs of death are the driver's own. */
async function firstTimes(client: pg.ClientBase, start: RunStart, from: string): Promise<RunTimes> {
  const { rows } = await client.query<{ now: Date; seen: Date | null }>(
    'select now() as now, last_seen_at as seen from host where id = $1',
    [from],
  );
  const now = rows[0]?.now.getTime() ?? 0;
  if (start.mode === 'drill') return { lastSignOfLife: now };
  if (start.mode === 'planned' || start.ahead === true) return {};
  const { lastSignOfLifeAt, suspectedAt, declaredDeadAt } = start.signs ?? {};
  const last = lastSignOfLifeAt?.getTime() ?? rows[0]?.seen?.getTime();
  return {
    ...(last === undefined ? {} : { lastSignOfLife: last }),
    ...(suspectedAt === undefined ? {} : { suspected: suspectedAt.getTime() }),
    ...(declaredDeadAt === undefined ? {} : { declaredDead: declaredDeadAt.getTime() }),
  };
}

async function insertSteps(
  client: pg.ClientBase,
  runId: string,
  { applied, mode }: RunStart,
  way: { readonly from: string; readonly to: string },
): Promise<void> {
  for (const [position, step] of applied.plan.steps.entries()) {
    if (!runsIn(step, mode)) continue;
    const hostId = hostOf(step, applied, way);
    const refused = mode === 'drill' ? refusal(step, hostId === way.from) : undefined;
    await client.query(
      'insert into run_step (run_id, step_id, position, spec, host_id, state, message) values ($1, $2, $3, $4, $5, $6, $7)',
      [
        runId,
        step.id,
        position,
        JSON.stringify(step),
        hostId,
        refused === undefined ? 'pending' : 'skipped',
        refused ?? '',
      ],
    );
  }
}

/** Null: the controller's own, or a look from several hosts. */
function hostOf(step: Step, { hostIds }: AppliedPlan, way: { from: string; to: string }): string | null {
  if (!('host' in step) || (step.type === 'check.http' && step.from !== undefined)) return null;
  if (isOwn(step.type) && step.type !== 'fence') return null;
  if (step.host === 'primary') return way.from;
  return step.host === 'standby' ? way.to : (hostIds.get(step.host) ?? null);
}

/** People are told of a drill only where the plan has contacts for that. */
function refusal(step: Step, onPrimary: boolean): string | undefined {
  if (step.type === 'notify' && drillContacts(step.to).length === 0) {
    return 'nobody is told of a drill but contacts that are named "drill" or "drill-…"';
  }
  return refusedInDrill(step, onPrimary);
}

export function drillContacts(names: readonly string[]): string[] {
  return names.filter((name) => name === 'drill' || name.startsWith('drill-'));
}
