// The Recovery service's calls about plans and their secrets.
//
// Hazard: what a plan runs, root runs. So a plan is applied by who may, its document is kept with the name of who applied it, and no call gives
// a secret back.
//
// Tested in recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { checkPlan as checkDocument } from '@holdfast/shared/recovery/check-plan';
import type { PlanInfo, RecoveryServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import type { Domain } from '../fleet/domains.ts';
import { findHost, listHosts, type Host } from '../fleet/hosts.ts';
import type { AppliedPlan } from '../recovery/contract.ts';
import { lookAtPlan } from '../recovery/objectives/look-at-plan.ts';
import { healthOf, type PlanHealth } from '../recovery/objectives/plan-health.ts';
import { applyPlan, removePlan } from '../recovery/plans/apply.ts';
import { checkLive, recordCheck } from '../recovery/plans/live-check.ts';
import { placePlan, type PlanFinding } from '../recovery/plans/placement.ts';
import {
  appliedPlan,
  documentOf,
  findPlan,
  listPlans,
  listRevisions,
  type PlanRow,
} from '../recovery/plans/plan-store.ts';
import { setSecret } from '../recovery/plans/secrets.ts';
import { actOnRun } from '../recovery/runs/run-desk.ts';
import { listRuns } from '../recovery/runs/run-store.ts';
import { isEnd } from '../recovery/runs/run-states.ts';
import { audit } from './operator-accounts.ts';
import { msOf } from './operator-wire.ts';
import type { OperatorContext } from './permissions.ts';
import { precheckJob } from './recovery-check.ts';
import type { RecoveryDeps } from './recovery-deps.ts';
import { unplacedRestores } from './recovery-targets.ts';
import { findingToWire, readOutcome, runToWire } from './recovery-wire.ts';
import { knowSources } from './source-facts.ts';

type Calls = Pick<
  RecoveryServiceImplementation<OperatorContext>,
  'checkPlan' | 'applyPlan' | 'listPlans' | 'getPlan' | 'removePlan' | 'overridePlan' | 'setPlanSecret'
>;

const DOCUMENT_MAX = 512 * 1024;
const RUNS_SHOWN = 20;

export function planCalls(deps: RecoveryDeps): Calls {
  const { pool } = deps.catalog;
  return {
    async checkPlan(request, context) {
      const domain = context.scope().domain(request.domain);
      bounded(request.document);
      const { plan, findings: placed } = await placePlan(pool, domain.id, request.document);
      const findings = [...placed, ...(plan === undefined ? [] : await unplacedRestores(deps, domain.id, plan))];
      const wrong = findings.some((finding) => finding.level === 'error');
      const live =
        request.live && plan !== undefined && !wrong ? await checkOnHosts(deps, domain, request.document) : [];
      return {
        plan: plan?.metadata.name ?? '',
        steps: plan?.steps.length ?? 0,
        findings: [...findings, ...live].map(findingToWire),
      };
    },
    async applyPlan(request, context) {
      const scope = context.scope();
      const domain = scope.domain(request.domain);
      bounded(request.document);
      await refuseUnplaced(deps, domain.id, request.document);
      const applied = await applyPlan(deps, domain.id, request.document, `operator ${scope.caller.name}`);
      // Not waited for longer than the call may take: the plan is applied.
      await deps.failover.plansChanged();
      const rows = await listPlans(pool, domain.id);
      const row = rows.find((one) => one.id === applied.planId);
      if (row === undefined) throw new HoldfastError('NOT_FOUND', 'the plan was removed meanwhile');
      const findings = applied.warnings.map(findingToWire);
      return { plan: await planToWire(deps, row), changed: applied.changed, findings };
    },
    async listPlans(request, context) {
      const domain = context.scope().domain(request.domain);
      const plans: DeepPartial<PlanInfo>[] = [];
      // One after the other: each looks at its sources.
      for (const row of await listPlans(pool, domain.id)) plans.push(await planToWire(deps, row));
      return { plans };
    },
    async getPlan(request, context) {
      const domain = context.scope().domain(request.domain);
      const row = await findPlan(pool, domain.id, request.plan);
      const revisions = await listRevisions(pool, row.id);
      const runs = await listRuns(pool, { domainId: domain.id, planId: row.id, limit: RUNS_SHOWN });
      return {
        plan: await planToWire(deps, row),
        document: await documentOf(pool, row.id, request.revision === 0 ? row.revision : request.revision),
        revisions: revisions.map((one) => {
          return { revision: one.revision, appliedAtMs: msOf(one.appliedAt), appliedBy: one.appliedBy };
        }),
        runs: runs.map(runToWire),
      };
    },
    async removePlan(request, context) {
      const scope = context.scope();
      const row = await findPlan(pool, scope.domain(request.domain).id, request.plan);
      const actor = `operator ${scope.caller.name}`;
      await endPreparation(deps, row, actor);
      await removePlan(deps, row, actor);
      await deps.failover.plansChanged();
      return {};
    },
    async overridePlan(request, context) {
      const domain = context.scope().domain(request.domain);
      const row = await findPlan(pool, domain.id, request.plan);
      const dead = await lostHost(deps, domain.id, row, request.deadHost);
      const subject = `${row.name}: ${dead.name} is off for good${reasonWords(request.reason)}`;
      const { goesOn, survivor, epoch } = await deps.failover.override(row.id, dead.id, (client) =>
        audit(client, context, domain.id, 'plan.override', subject),
      );
      const other = (await listHosts(pool, domain.id)).find(({ id }) => id === survivor);
      return { plan: await planToWire(deps, row), survivor: other?.name ?? survivor, goesOn, epoch: BigInt(epoch) };
    },
    async setPlanSecret(request, context) {
      const domain = context.scope().domain(request.domain);
      const { name, value } = request;
      await deps.catalog.transaction(async (client) => {
        await setSecret(client, deps.masterKey, { domainId: domain.id, name, value });
        await audit(client, context, domain.id, value.length === 0 ? 'secret.remove' : 'secret.set', name);
      });
      return {};
    },
  };
}

const REASON_MAX = 500;

function reasonWords(reason: string): string {
  return reason === '' ? '' : `: ${reason.slice(0, REASON_MAX)}`;
}

/** Throws NOT_FOUND, BUSY, and FAILED_PRECONDITION for a host that is not lost. */
async function lostHost(
  { catalog: { pool } }: RecoveryDeps,
  domainId: string,
  row: PlanRow,
  name: string,
): Promise<Host> {
  const host = await findHost(pool, domainId, name);
  if (host.state === 'online') {
    throw new HoldfastError('FAILED_PRECONDITION', `${host.name} is connected: it is not off`, {
      hint: 'The plan goes on by itself as soon as both hosts have reported. If it must not come back, switch it off first.',
    });
  }
  const [run] = (await listRuns(pool, { domainId, planId: row.id, limit: RUNS_SHOWN })).filter(
    ({ mode, ahead, state }) => mode !== 'drill' && !ahead && !isEnd(state),
  );
  if (run !== undefined) {
    throw new HoldfastError('BUSY', `a run of ${row.name} goes on, with the epochs of the catalog before`, {
      hint: `End it first: holdfast run abort ${run.id.slice(0, 8)}`,
    });
  }
  return host;
}

/** What runs ahead of a failover that can't come any more. */
async function endPreparation(deps: RecoveryDeps, row: PlanRow, actor: string): Promise<void> {
  const runs = await listRuns(deps.catalog.pool, { domainId: row.domainId, planId: row.id, limit: RUNS_SHOWN });
  const live = runs.find(({ ahead, state }) => ahead && !isEnd(state));
  if (live !== undefined)
    await actOnRun(deps, live.id, { action: 'end-ahead', step: '', reason: 'plan removed', actor });
}

function bounded(document: string): void {
  if (document.length > DOCUMENT_MAX) throw new HoldfastError('INVALID_ARGUMENT', 'a plan has at most 256 KiB');
}

/** Throws INVALID_ARGUMENT; what else is wrong with it is said by who applies it. */
async function refuseUnplaced(deps: RecoveryDeps, domainId: string, document: string): Promise<void> {
  const { plan } = checkDocument(document);
  const [first] = plan === undefined ? [] : await unplacedRestores(deps, domainId, plan);
  if (first !== undefined) throw new HoldfastError('INVALID_ARGUMENT', first.message, { hint: first.remedy });
}

/** Of what is applied, the result is kept: it makes the plan ready, or not. */
async function checkOnHosts(deps: RecoveryDeps, domain: Domain, document: string): Promise<PlanFinding[]> {
  const { plan } = await placePlan(deps.catalog.pool, domain.id, document);
  if (plan === undefined) return [];
  const row = (await listPlans(deps.catalog.pool, domain.id)).find((one) => one.name === plan.metadata.name);
  const isNewest = row?.document === document;
  const applied = isNewest
    ? await appliedPlan(deps.catalog.pool, row.id)
    : await asIfApplied(deps, domain, plan, row?.id ?? '');
  const findings = await checkLive(
    { ...deps, readOutcome, precheck: (...asked) => precheckJob(deps, ...asked) },
    applied,
  );
  if (isNewest) await recordCheck(deps, applied, findings);
  return findings;
}

/** @param planId where an earlier revision of it is applied; else '' */
async function asIfApplied(
  deps: RecoveryDeps,
  domain: Domain,
  plan: AppliedPlan['plan'],
  planId: string,
): Promise<AppliedPlan> {
  const { rows } = await deps.catalog.pool.query<{ id: string; name: string }>(
    'select id, name from host where domain_id = $1 and name = any($2)',
    [domain.id, [...plan.placement.hosts, ...(plan.detect.witnesses?.hosts ?? [])]],
  );
  const hostIds = new Map(rows.map(({ id, name }) => [name, id]));
  return { id: planId, domainId: domain.id, name: plan.metadata.name, revision: 0, plan, findings: [], hostIds };
}

interface ApplicationRow {
  readonly primary: string;
  readonly standby: string;
  readonly primaryName: string;
  readonly standbyName: string;
  readonly epoch: number;
  readonly phase: string;
  readonly disarmed: number;
  readonly running: boolean;
  readonly splitBrain: boolean;
}

async function planToWire(deps: RecoveryDeps, row: PlanRow): Promise<DeepPartial<PlanInfo>> {
  const { pool } = deps.catalog;
  const { rows } = await pool.query<ApplicationRow>(
    `select a.primary_host as primary, a.standby_host as standby, p.name as "primaryName", s.name as "standbyName", a.epoch, a.phase,
       a.disarmed,
       exists (select from run r where r.plan_id = a.plan_id and not r.ahead and r.finished_at is null) as running,
       exists (select from run r where r.plan_id = a.plan_id and r.state = 'split-brain-suspected') as "splitBrain"
     from application a join host p on p.id = a.primary_host join host s on s.id = a.standby_host where a.plan_id = $1`,
    [row.id],
  );
  const placed = rows[0];
  if (placed === undefined) throw new HoldfastError('NOT_FOUND', 'the plan has no application');
  const applied = await appliedPlan(pool, row.id);
  const health = healthOf(
    await lookAtPlan(
      {
        pool,
        knowSources: (sources) => knowSources(pool, sources),
        notify: deps.notify,
        further: deps.further,
        suspicion: deps.suspicion,
      },
      applied,
      placed,
    ),
  );
  const look = deps.failover.look(row.id);
  const split = placed.splitBrain || look?.splitBrain === true;
  const state = split ? 'split-brain-suspected' : placed.running ? 'running' : health.ready ? 'ready' : 'unverified';
  return {
    id: row.id,
    name: row.name,
    revision: row.revision,
    mode: applied.plan.detect.mode,
    primary: placed.primaryName,
    standby: placed.standbyName,
    epoch: BigInt(placed.epoch),
    state,
    readiness: health.facts.map((fact) => ({ ...fact, line: 0, column: 0 })),
    lease: applied.plan.detect.mode !== 'automatic' ? '' : leaseOf(placed),
    verdict: look?.verdict ?? '',
    objectives: objectivesOf(applied, health),
    lastDrillAtMs: msOf(health.drill.lastAt ?? null),
    drillDueAtMs: msOf(health.drill.dueAt ?? null),
  };
}

function leaseOf({ phase, disarmed }: ApplicationRow): string {
  return phase === 'open' && disarmed !== 0 ? 'disarmed' : phase;
}

function objectivesOf({ plan }: AppliedPlan, { forecast, measured }: PlanHealth): DeepPartial<PlanInfo['objectives']> {
  const ms = (value: number | undefined): bigint => BigInt(Math.round(value ?? 0));
  return {
    rtoMs: ms(plan.objectives.rto),
    rpoMs: ms(plan.objectives.rpo),
    forecastRtoMs: ms(forecast.rtoMs),
    forecastRpoMs: ms(forecast.rpoMs),
    measuredRtoMs: ms(measured.rtoMs),
    measuredRpoMs: ms(measured.rpoMs),
  };
}
