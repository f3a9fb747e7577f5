// The jobs of a run: what a step's host, or the sources' hosts, are asked to do.
//
// Hazard: a step carried out by the wrong host, with another host's addresses, or outside its sandbox. So where a step runs is taken from its
// row, variables are put in here and nowhere else, and in a drill every job names the drill's sandbox.
//
// Tested in recovery-jobs.db.test.ts.

import { isIP } from 'node:net';

import { HoldfastError } from '@holdfast/shared/base/errors';
import {
  encodeHostStep,
  encodeResolved,
  type HostStepSpec,
  type ResolvedData,
} from '@holdfast/shared/recovery/host-step';
import { servicesOn } from '@holdfast/shared/recovery/services-on';
import type { Plan } from '@holdfast/shared/recovery/plan';
import { protectionOf } from '@holdfast/shared/recovery/protection';
import type { Step } from '@holdfast/shared/recovery/step-types';
import { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import type { NewJob } from '../fleet/jobs.ts';
import { sourcesOfHost, type Source } from '../fleet/sources.ts';
import type { JobOrder } from '../recovery/runs/advance.ts';
import type { OrderedJob } from '../recovery/runs/transitions.ts';
import type { RunView, StepRow } from '../recovery/runs/run-view.ts';
import { isRestore, LOOK_MS, timeoutMs } from '../recovery/runs/step-policy.ts';
import { renderings, substitute, substituteStep, variablesFor } from '../recovery/runs/substitute.ts';
import { blueprintFor } from './recovery-blueprint.ts';
import { restoreJob, restoreLookOf, withPort, type RestoreDeps } from './recovery-restore.ts';

export interface RecoveryJobsDeps extends RestoreDeps {
  /** A small file out of a snapshot. */
  readonly fileContent: (
    domainId: string,
    snapshotId: Uint8Array,
    path: string,
    maxBytes: number,
  ) => AsyncGenerator<Buffer>;
}

/** Who speaks: every command that changes something carries both. */
export interface Numbers {
  readonly term: number;
  readonly epoch: number;
}

/** Throws what makes the step impossible: a snapshot that is gone, a variable without a value, a host that was revoked. */
export async function jobsFor(
  deps: RecoveryJobsDeps,
  view: RunView,
  order: JobOrder,
  numbers: Numbers,
): Promise<OrderedJob[]> {
  if (order.step === '') return [{ order, part: '', job: sandboxJob(view, order) }];
  const step = view.steps.find((one) => one.id === order.step);
  if (step === undefined) throw new HoldfastError('NOT_FOUND', `the run has no step "${order.step}"`);
  const { spec } = step;
  if (spec.type === 'snapshot') return await backupJobs(deps, view, step, order);
  if (isRestore(spec.type) && order.phase === 'apply') {
    return [{ order, part: '', job: await restoreJob(deps, view, step) }];
  }
  if (spec.type === 'check.http' && spec.from !== undefined) {
    return await outsideJobs(deps, view, step, order, numbers, spec.from);
  }
  // The script that switches the old primary off runs on the other one.
  const hostId = spec.type === 'fence' ? view.run.toHost : step.hostId;
  if (hostId === null) throw new HoldfastError('FAILED_PRECONDITION', 'the step has no host');
  return [{ order, part: '', job: await stepJob(deps, view, step, order, numbers, hostId) }];
}

async function stepJob(
  deps: RecoveryJobsDeps,
  view: RunView,
  step: StepRow,
  order: JobOrder,
  numbers: Numbers,
  hostId: string,
): Promise<NewJob> {
  const { run, plan } = view;
  const spec = wordsFor(view, step, order.phase);
  const limit = order.phase === 'probe' || order.phase === 'precheck' ? LOOK_MS : timeoutMs(step.spec, plan);
  const resolved = await resolve(deps, view, step, order.phase, hostId);
  const value = {
    application: run.planId,
    plan: run.planName,
    run: run.id,
    step: spec.id,
    attempt: order.attempt,
    term: BigInt(numbers.term),
    epoch: BigInt(numbers.epoch),
    action:
      order.phase === 'stop-unit' || order.phase === 'start-unit' || order.phase === 'render' ? 'apply' : order.phase,
    spec: encodeHostStep(spec),
    timeoutMs: limit ?? 0,
    sandbox: run.mode === 'drill' ? run.id : '',
    services: Buffer.from(JSON.stringify(servicesOn(plan, step.hostName))),
    resolved: encodeResolved(resolved),
  };
  return {
    domainId: run.domainId,
    hostId,
    kind: 'step',
    requestedBy: `run ${run.id}`,
    request: (jobId) => WireJob.encode(WireJob.fromPartial({ jobId, kind: { $case: 'step', value } })).finish(),
  };
}

/** The step as its host gets it. A restore's unit, and what is rendered after it, are steps of their own there, with ids of their own. */
function wordsFor({ run, plan }: RunView, step: StepRow, phase: JobOrder['phase']): HostStepSpec {
  const names = { host: step.hostName, primary: run.fromName, standby: run.toName };
  const variables = variablesFor(plan, names, run.point.atMs);
  const { id, spec } = step;
  if (phase === 'render') return { id: partId(id, 'render'), type: 'render', files: renderings(plan, variables) };
  if ((phase === 'stop-unit' || phase === 'start-unit') && 'unit' in spec && spec.unit !== undefined) {
    return {
      id: partId(id, phase === 'stop-unit' ? 'stop' : 'start'),
      type: phase === 'stop-unit' ? 'service.stop' : 'service.start',
      host: spec.host,
      units: [substitute(spec.unit, variables)],
      in: spec.in,
      needs: [],
      ahead: false,
      critical: true,
    };
  }
  return substituteStep(spec, variables);
}

const NAME_MAX = 64;

function partId(id: string, part: string): string {
  return `${id.slice(0, NAME_MAX - part.length - 1)}.${part}`;
}

async function resolve(
  deps: RecoveryJobsDeps,
  view: RunView,
  step: StepRow,
  phase: JobOrder['phase'],
  hostId: string,
): Promise<ResolvedData> {
  const { spec, hostName } = step;
  if (isRestore(spec.type)) return phase === 'precheck' ? { restore: await restoreLookOf(deps, view, step) } : {};
  switch (spec.type) {
    case 'check.sql':
      return { source: await engineFor(deps, view, spec.source, hostId) };
    case 'fence':
      return view.plan.fence?.script === undefined ? {} : { script: view.plan.fence.script };
    case 'traffic':
      return trafficFor(view.plan, hostName);
    case 'rebuild':
      return phase === 'undo'
        ? {}
        : {
            blueprint: await blueprintFor(deps, view.run.fromHost, spec),
            protectedUnits: [...protectionOf(view.plan).units],
          };
    default:
      return {};
  }
}

/** With automatic failover the addresses come and go with the lease. */
function trafficFor(plan: Plan, hostName: string): ResolvedData {
  const bind = plan.placement.vars[hostName]?.['bind'];
  return { leased: plan.detect.mode === 'automatic', ...(bind === undefined ? {} : { bind }) };
}

/** How the host reaches what it asks: as its own source of that name says, else as the primary's, at the port that it was restored to. */
async function engineFor(
  { catalog }: RecoveryJobsDeps,
  { run, plan }: RunView,
  name: string,
  hostId: string,
): Promise<NonNullable<ResolvedData['source']>> {
  const own = (await sourcesOfHost(catalog.pool, hostId)).find((source) => source.name === name);
  const source = own ?? (await sourcesOfHost(catalog.pool, run.fromHost)).find((one) => one.name === name);
  const type = source === undefined ? undefined : SourceSpec.decode(source.spec).type;
  if (type?.$case !== 'engine') throw new HoldfastError('NOT_FOUND', `there is no database source ${name}`);
  const there = withPort(type.value.settings, own === undefined ? restoredPort(plan, name) : undefined);
  const settings = Object.fromEntries(there.map((setting) => [setting.name, setting.value]));
  return { type: type.value.type, settings };
}

function restoredPort(plan: Plan, source: string): number | undefined {
  const restore = plan.steps.find((step) => isRestore(step.type) && 'source' in step && step.source === source);
  return restore !== undefined && 'port' in restore ? restore.port : undefined;
}

/** Witnesses, or a host that is named, look from outside. */
async function outsideJobs(
  deps: RecoveryJobsDeps,
  view: RunView,
  step: StepRow,
  order: JobOrder,
  numbers: Numbers,
  from: string,
): Promise<OrderedJob[]> {
  const names = from === 'witnesses' ? (view.plan.detect.witnesses?.hosts ?? []) : [from];
  const { rows } = await deps.catalog.pool.query<{ id: string; name: string }>(
    `select id, name from host where domain_id = $1 and name = any($2) and state = 'enrolled'`,
    [view.run.domainId, names],
  );
  if (rows.length === 0) throw new HoldfastError('NOT_FOUND', `there is no host ${names.join(', ')} to look from`);
  const jobs: OrderedJob[] = [];
  for (const host of rows) {
    jobs.push({ order, part: host.name, job: await stepJob(deps, view, step, order, numbers, host.id) });
  }
  return jobs;
}

async function backupJobs(
  { catalog }: RecoveryJobsDeps,
  { run }: RunView,
  step: StepRow,
  order: JobOrder,
): Promise<OrderedJob[]> {
  const { spec } = step;
  if (spec.type !== 'snapshot' || step.hostId === null) throw new HoldfastError('INTERNAL', 'not a snapshot');
  const sources = await sourcesOfHost(catalog.pool, step.hostId);
  return spec.sources.map((name) => {
    const source = sources.find((one) => one.name === name);
    if (source === undefined) throw new HoldfastError('NOT_FOUND', `${step.hostName} has no source ${name}`);
    return { order, part: name, job: backupJob(source, `run ${run.id}`) };
  });
}

export function backupJob(source: Source, requestedBy: string): NewJob {
  const backup = { source: SourceSpec.decode(source.spec), fullRead: false };
  return {
    domainId: source.domainId,
    hostId: source.hostId,
    sourceId: source.id,
    kind: 'backup',
    requestedBy,
    request: (jobId) =>
      WireJob.encode(WireJob.fromPartial({ jobId, kind: { $case: 'backup', value: backup } })).finish(),
  };
}

const DRILL_LIFE_MS = 2 * 3_600_000;

/** The address in ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; undefined for a name, and for the loopback, which every sandbox has. */
export function addressIn(bind: string): string | undefined {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(bind)?.[1];
  const bare = bracketed ?? (isIP(bind) === 0 ? bind.replace(/:\d+$/, '') : bind);
  return isIP(bare) === 0 || bare.startsWith('127.') || bare === '::1' ? undefined : bare;
}

/** Inside, the standby's addresses and the application's are there, and nobody else's. */
function sandboxJob({ run, plan }: RunView, order: JobOrder): NewJob {
  const bind = addressIn(plan.placement.vars[run.toName]?.['bind'] ?? '');
  const moved = plan.steps.flatMap((step: Step) =>
    step.type === 'traffic'
      ? step.via.flatMap((via) => ('address' in via ? via.address.ip.replace(/\/\d+$/, '') : []))
      : [],
  );
  const value = {
    name: run.id,
    application: run.planId,
    action: order.phase,
    ttlMs: BigInt(plan.drill?.ttl ?? DRILL_LIFE_MS),
    addresses: [...new Set([...(bind === undefined ? [] : [bind]), ...moved])],
  };
  return {
    domainId: run.domainId,
    hostId: run.toHost,
    kind: 'step',
    requestedBy: `run ${run.id}`,
    request: (jobId) => WireJob.encode(WireJob.fromPartial({ jobId, kind: { $case: 'sandbox', value } })).finish(),
  };
}
