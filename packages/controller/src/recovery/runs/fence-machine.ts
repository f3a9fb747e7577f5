// The fence: the step that is the promotion. What is due for it, and what the engine has to ask of others. Pure.
//
// Hazard: two hosts that serve. So nobody is promoted before it is proven that the old primary writes no more: by its own answer, by a
// lease that ran out, by the script's success, or by a person; and a promotion that is there already is never made a second time.
//
// Invariants (actions.test.ts, run-machine.property.test.ts):
//   FM1 it is done if and only if the application's row says that the run's target serves under the run's epoch or a later one;
//   FM2 without a proof nobody is promoted; a planned run takes the primary's own answer alone.

import type { Decision, RunView, StepRow } from './run-view.ts';

export type FenceEffect = 'stop-primary' | 'promote';

/** The person who is asked finds it word for word. */
export function fenceQuestion(view: RunView): string {
  const { fromName, id } = view.run;
  return `nothing proves that ${fromName} is off: switch it off, then: holdfast run confirm-fence ${id.slice(0, 8)}`;
}

export function fenceNews(view: RunView, step: StepRow): Decision[] {
  const { run, serving, plan } = view;
  if (step.state !== 'dispatched' && step.state !== 'running') return [];
  if (serving.epoch >= run.epoch) {
    if (serving.primary === run.toHost) return [{ kind: 'step', step: step.id, event: 'succeed' }];
    const message = `another host was promoted, under epoch ${serving.epoch}`;
    return [{ kind: 'step', step: step.id, event: 'fail', report: { message } }];
  }
  if (run.fenceProof !== '' || !isAnswered(step, 'primary')) return [];
  if (run.mode === 'planned') {
    const message = `${run.fromName} did not say that it stopped`;
    return [{ kind: 'step', step: step.id, event: 'fail', report: { message } }];
  }
  if (plan.fence?.script !== undefined && !isAnswered(step, 'script')) {
    if (step.facts['script'] !== ASKING) {
      return [
        { kind: 'facts', step: step.id, facts: { script: ASKING } },
        { kind: 'phase', step: step.id, phase: 'apply' },
      ];
    }
    const job = view.jobs.find((one) => one.stepId === step.id && one.phase === 'apply');
    if (job?.report === undefined) return [];
    return job.report.state === 'ok'
      ? [{ kind: 'proof', proof: 'script' }]
      : [{ kind: 'facts', step: step.id, facts: { script: job.report.message || job.report.state } }];
  }
  return run.state === 'running' ? [{ kind: 'run', event: 'pause', pause: 'fence', reason: fenceQuestion(view) }] : [];
}

/** A resumed run asks again: then there is an empty answer. */
function isAnswered(step: StepRow, what: 'primary' | 'script'): boolean {
  const answer = step.facts[what] ?? '';
  return answer !== '' && answer !== ASKING;
}

const ASKING = 'asking';

/** What the engine asks failover for, again and again until the answer is in the rows. */
export function fenceEffect(view: RunView, step: StepRow): FenceEffect | undefined {
  const { run, serving } = view;
  if (run.state !== 'running' || (step.state !== 'dispatched' && step.state !== 'running')) return undefined;
  if (serving.epoch >= run.epoch) return undefined;
  if (run.fenceProof === '') return isAnswered(step, 'primary') ? undefined : 'stop-primary';
  return serving.phase === 'ordered' ? undefined : 'promote';
}
