// What a run asks of others than hosts: failover, for the fence, and notify. Each may be asked again after a restart: a primary that is told to
// stop twice stops once, a promotion that is under way is refused, and a message has a key.
//
// Tested in engine.db.test.ts.

import { toHoldfastError } from '@holdfast/shared/base/errors';

import type { Failover, Notifier } from '../contract.ts';
import type { Engine } from './engine-contract.ts';
import { fenceEffect } from './fence-machine.ts';
import type { Decision, RunView, StepRow } from './run-view.ts';
import { drillContacts } from './start-run.ts';

export interface Effect {
  /** One at a time of each. */
  readonly key: string;
  readonly work: () => Promise<void>;
}

export interface EffectDeps {
  readonly failover: Failover;
  readonly notifier: Notifier;
}

/** An agent that is there answers at once; planned, its units may take their time to stop. */
const STOP_PLANNED_MS = 60_000;
const STOP_UNPLANNED_MS = 3_000;

/** What has to be asked now. */
export function startEffects(deps: EffectDeps, engine: Pick<Engine, 'apply'>, view: RunView): Effect[] {
  const { run } = view;
  return view.steps.flatMap((step): Effect[] => {
    const key = `${run.id} ${step.id} ${step.attempt}`;
    if (step.spec.type === 'fence') {
      const effect = fenceEffect(view, step);
      if (effect === 'stop-primary') return [{ key, work: () => stopPrimary(deps, engine, view, step) }];
      return effect === 'promote' ? [{ key, work: () => promote(deps, engine, view, step) }] : [];
    }
    const tells = step.spec.type === 'notify' && step.state === 'dispatched' && run.state === 'running';
    return tells ? [{ key, work: () => tell(deps, engine, view, step) }] : [];
  });
}

async function stopPrimary(
  { failover }: EffectDeps,
  engine: Pick<Engine, 'apply'>,
  { run }: RunView,
  step: StepRow,
): Promise<void> {
  const stopped = await failover
    .stopPrimary(run.planId, run.mode === 'planned' ? STOP_PLANNED_MS : STOP_UNPLANNED_MS)
    .catch(() => false);
  await engine.apply(run.id, (view): Decision[] => {
    if (!isSame(view, step) || view.run.fenceProof !== '') return [];
    if (stopped) return [{ kind: 'proof', proof: 'agent-stopped' }];
    return [{ kind: 'facts', step: step.id, facts: { primary: 'no answer' } }];
  });
}

const PROMOTE_AGAIN_MS = 1_000;

async function promote(
  { failover }: EffectDeps,
  engine: Pick<Engine, 'apply'>,
  { run }: RunView,
  step: StepRow,
): Promise<void> {
  if (run.fenceProof === '') return;
  try {
    await failover.promote(run.planId, run.fenceProof);
  } catch (thrown) {
    const { message } = toHoldfastError(thrown);
    await engine.apply(run.id, (view): Decision[] => {
      const known = view.steps.find((one) => one.id === step.id)?.facts['promotion'];
      if (!isSame(view, step) || known === message) return [];
      return [{ kind: 'facts', step: step.id, facts: { promotion: message } }];
    });
  }
  // The row says when it is done; until then it is not asked again at once.
  await new Promise((resolve) => setTimeout(resolve, PROMOTE_AGAIN_MS).unref());
}

async function tell(
  { notifier }: EffectDeps,
  engine: Pick<Engine, 'apply'>,
  { run, plan }: RunView,
  step: StepRow,
): Promise<void> {
  const { spec } = step;
  if (spec.type !== 'notify') return;
  const contacts = run.mode === 'drill' ? drillContacts(spec.to) : spec.to;
  let failure = '';
  try {
    await notifier.notify({
      planId: run.planId,
      runId: run.id,
      contacts,
      template: spec.template,
      facts: factsOfRun({ run, plan }),
      key: `run/${run.id}/${step.id}`,
    });
  } catch (thrown) {
    failure = toHoldfastError(thrown).message;
  }
  await engine.apply(run.id, (view): Decision[] => {
    if (!isSame(view, step)) return [];
    if (failure === '') return [{ kind: 'step', step: step.id, event: 'succeed' }];
    return [{ kind: 'step', step: step.id, event: 'fail', report: { message: failure } }];
  });
}

/** The step is still in the attempt that asked. */
function isSame(view: RunView, { id, attempt }: StepRow): boolean {
  const now = view.steps.find((step) => step.id === id);
  return now?.attempt === attempt && (now.state === 'dispatched' || now.state === 'running');
}

/** What templates may say of a run. */
export function factsOfRun({ run, plan }: Pick<RunView, 'run' | 'plan'>): Record<string, string> {
  return {
    plan: run.planName,
    owner: plan.metadata.owner,
    run: run.id.slice(0, 8),
    mode: run.mode,
    state: run.state,
    reason: run.reason,
    from: run.fromName,
    to: run.toName,
    point: run.point.atMs === 0 ? '' : new Date(run.point.atMs).toISOString(),
  };
}
