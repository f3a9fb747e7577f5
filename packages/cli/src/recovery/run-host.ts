// `holdfast plan run --host`: all plans that a host serves, in one go: the host is lost, or is to be emptied.
//
// Hazards: a name that was mistyped at three in the morning, so the host must be one, and what begins is named before it does; a command that is
// said twice because the first seemed to hang, so a plan whose run goes on is told as such, and nothing is started beside it; and one plan that
// can't be started must not hold up the others.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';
import { waitsFor } from '@holdfast/shared/recovery/depends-on';
import { parsePlan } from '@holdfast/shared/recovery/plan';
import type { Mode } from '@holdfast/shared/recovery/step-types';
import type {
  GetPlanResponse,
  PlanInfo,
  RunInfo,
  StartRunRequest,
} from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { confirm } from '../session/confirm.ts';
import type { Session } from '../session/session.ts';
import { ID_PREFIX_LENGTH } from '../words/names.ts';
import { plainText } from '../words/plain-text.ts';
import { counted } from '../words/sizes.ts';
import { turnOrder, type OrderedPlan } from './turn-order.ts';

export interface HostRun extends Pick<StartRunRequest, 'atMs' | 'latestClean' | 'fenceConfirmed'> {
  readonly host: string;
  readonly mode: Mode;
  /** Asks nobody. */
  readonly yes: boolean;
}

interface HostPlan extends OrderedPlan {
  readonly standby: string;
  /** A run of it that is not over, and that no other may be started beside. */
  readonly live: RunInfo | undefined;
}

interface Outcome {
  readonly outcome: 'started' | 'goes-on' | 'refused';
  readonly run?: string;
  readonly state?: string;
  readonly reason?: string;
  readonly hint?: string;
}

/** Reports each plan as it is started. Throws NOT_FOUND, USAGE, CANCELLED; FAILED_PRECONDITION at the end where any was refused. */
export async function runHost(session: Session, asked: HostRun): Promise<void> {
  const plans = turnOrder(await plansOf(session, asked));
  if (plans.length === 0) return await tellNone(session, asked);
  const free = plans.filter(({ live }) => live === undefined);
  if (!asked.yes && free.length > 0) {
    session.environment.stderr.write(listing(plans, asked));
    await confirm(session.environment, question(free, asked));
  }
  let refused = 0;
  for (const plan of plans) {
    const outcome = plan.live === undefined ? await start(session, plan, asked) : judged(plan.live, asked);
    if (outcome.outcome === 'refused') refused += 1;
    await tell(session, plan, outcome, asked);
  }
  if (refused > 0) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `${refused} of ${counted(plans.length, 'plan')} can't be started now`,
      {
        hint: 'Mend it, and say it again: what was started is not started twice.',
      },
    );
  }
  session.remark('See how they go with: holdfast run ls');
}

/** What the host serves, and what is just leaving it. */
async function plansOf(session: Session, asked: HostRun): Promise<HostPlan[]> {
  const recovery = await session.recovery();
  const domain = await session.domain();
  const { hosts } = await (await session.operator()).listHosts({ domain });
  const names = hosts.map(({ name }) => name);
  if (!names.includes(asked.host)) {
    const hint = didYouMean(nearNames(asked.host, names)) || 'See: holdfast host ls';
    throw new HoldfastError('NOT_FOUND', `there is no host ${JSON.stringify(asked.host)}`, { hint });
  }
  const { plans } = await recovery.listPlans({ domain });
  const found: HostPlan[] = [];
  for (const info of plans) {
    const serves = info.primary === asked.host;
    if (!serves && !BUSY_STATES.has(info.state)) continue;
    const shown = await recovery.getPlan({ domain, plan: info.name });
    const live = liveRun(shown.runs, asked.mode);
    if (serves || (live?.mode === asked.mode && live.fromHost === asked.host)) found.push(hostPlan(info, shown, live));
  }
  return found;
}

const BUSY_STATES: ReadonlySet<string> = new Set(['running', 'split-brain-suspected']);
const USUAL_PRIORITY = 100;

/** A document that only a newer program can read has its plan last among the usual ones. */
function hostPlan({ name, standby }: PlanInfo, { document }: GetPlanResponse, live: RunInfo | undefined): HostPlan {
  const { priority, dependsOn } = parsePlan(document).plan?.metadata ?? { priority: USUAL_PRIORITY, dependsOn: [] };
  return { name, standby: live?.toHost ?? standby, priority, dependsOn, live };
}

/** A real run puts an end to a drill, and takes over what runs ahead. */
function liveRun(runs: readonly RunInfo[], mode: Mode): RunInfo | undefined {
  const live = runs.filter(({ finishedAtMs, ahead }) => finishedAtMs === 0n && !ahead);
  return live.find((run) => run.mode !== 'drill') ?? (mode === 'drill' ? live[0] : undefined);
}

function judged({ id, mode, state, fromHost, toHost }: RunInfo, asked: HostRun): Outcome {
  if (mode === asked.mode && fromHost === asked.host) return { outcome: 'goes-on', run: id, state };
  const reason = `another run goes on: ${mode}, ${fromHost} → ${toHost}, ${state}`;
  const short = id.slice(0, ID_PREFIX_LENGTH);
  return {
    outcome: 'refused',
    run: id,
    state,
    reason,
    hint: `holdfast run commit ${short}, or: holdfast run abort ${short}`,
  };
}

async function start(session: Session, { name }: HostPlan, asked: HostRun): Promise<Outcome> {
  const recovery = await session.recovery();
  const domain = await session.domain();
  const { mode, atMs, latestClean, fenceConfirmed } = asked;
  try {
    const { run } = await recovery.startRun({ domain, plan: name, mode, atMs, latestClean, fenceConfirmed });
    return { outcome: 'started', run };
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    if (error.code === 'UNREACHABLE') {
      const hint = 'Say it again: what was started is not started twice.';
      throw new HoldfastError('UNREACHABLE', `${name}: ${error.message}`, { hint, cause: error });
    }
    const live =
      error.code === 'BUSY' ? liveRun((await recovery.getPlan({ domain, plan: name })).runs, mode) : undefined;
    if (live !== undefined) return judged(live, asked);
    return { outcome: 'refused', reason: error.message, hint: error.hint };
  }
}

function listing(plans: readonly HostPlan[], { mode, host }: HostRun): string {
  const known = new Map(plans.map((plan) => [plan.name, plan]));
  const width = Math.max(...plans.map(({ name }) => name.length));
  const lines = plans.map((plan, at) => {
    const { name, standby, live } = plan;
    const after = waitsFor(plan, known);
    const waits = after.length === 0 ? '' : `, after ${after.join(', ')}`;
    const what = live === undefined ? `to ${standby}${waits}` : `run ${live.id} goes on (${live.mode}, ${live.state})`;
    return `${String(at + 1).padStart(4)}  ${name.padEnd(width)}  ${plainText(what)}\n`;
  });
  return `${counted(plans.length, 'plan')} of ${host}, ${mode}, in their order:\n${lines.join('')}`;
}

function question(free: readonly HostPlan[], { mode, host, fenceConfirmed }: HostRun): string {
  const vouch = fenceConfirmed ? ` You vouch that ${host} is off.` : '';
  return `Start ${counted(free.length, `${mode} run`)}: ${free.map(({ name }) => name).join(', ')}?${vouch}`;
}

async function tell(
  session: Session,
  { name, standby }: HostPlan,
  is: Outcome,
  { host, mode }: HostRun,
): Promise<void> {
  const { outcome, run, state, reason, hint } = is;
  if (session.json) {
    const known = { run: run ?? null, state: state ?? null, reason: reason ?? null, hint: hint || null };
    return await session.event({ plan: name, from: host, to: standby, mode, outcome, ...known });
  }
  if (outcome === 'started') return await session.write(`${name}: run ${run} started, to ${standby}\n`);
  if (outcome === 'goes-on') return await session.write(`${name}: run ${run} goes on: ${state}\n`);
  const remedy = hint === undefined || hint === '' ? '' : `   ${plainText(hint)}\n`;
  await session.write(`${name}: refused: ${plainText(reason ?? '')}\n${remedy}`);
}

async function tellNone(session: Session, { host }: HostRun): Promise<void> {
  session.remark(`No plan is served by ${host}, and none is leaving it. Who serves what: holdfast plan ls`);
}
