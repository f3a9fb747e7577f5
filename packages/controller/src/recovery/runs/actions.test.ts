import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import type { Mode } from '@holdfast/shared/recovery/step-types';
import { expect } from 'chai';

import { SimulatedRun, type Word } from '../../testing/simulated-run.ts';
import { ACTIONS, actOn, type Action } from './actions.ts';
import { advance } from './advance.ts';
import { fenceEffect } from './fence-machine.ts';
import { decide } from './run-machine.ts';
import { RUN_STATES } from './run-states.ts';
import type { RunView } from './run-view.ts';

const { plan } = checkPlan(`
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
fence: {script: /bin/off}
steps:
  - {id: quiesce, type: service.stop, in: [planned], host: primary, units: [shop]}
  - {id: fence, type: fence, in: [unplanned, planned], needs: [quiesce]}
  - {id: one, type: command, run: [/bin/true], needs: [fence]}
  - {id: two, type: command, run: [/bin/true], needs: [fence]}
  - {id: start, type: service.start, units: [shop], needs: [one, two, fence]}
`);

const turns = function* turns(): Generator<number> {
  for (;;) yield 0;
};
/** Played with these words, then `ok`. */
const played = (mode: Mode, ...words: Word[]): SimulatedRun => {
  const run = new SimulatedRun(plan!, mode);
  run.play(() => words.shift() ?? 'ok', turns());
  return run;
};
const refusalOf = (view: RunView, action: Action, step = ''): string => {
  try {
    actOn(view, { action, step, reason: '', actor: 'operator ann' });
    return 'allowed';
  } catch (error) {
    return String(error);
  }
};

describe('what people may do to a run', () => {
  it('AC1 a fence is never skipped; a planned one is confirmed by nobody, an unplanned one by a person', () => {
    const unplanned = played('unplanned', 'failed', 'failed');
    expect(unplanned.view.run).to.include({ state: 'paused', pause: 'fence' });
    expect(refusalOf(unplanned.view, 'skip', 'fence')).to.include('two hosts would serve');
    unplanned.act('confirm-fence');
    expect(unplanned.view.run).to.include({ state: 'running', fenceProof: 'person' });
    const planned = played('planned', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'failed');
    expect(planned.view.run, planned.story()).to.include({ state: 'paused' });
    expect(refusalOf(planned.view, 'skip', 'fence')).to.include('two hosts would serve');
    expect(refusalOf(planned.view, 'confirm-fence')).to.not.equal('allowed');
  });

  it('FM2 nobody is promoted without a proof: the primary is asked, then the script, then a person; a resumed run asks all again', () => {
    const run = played('unplanned', 'failed', 'failed');
    expect(run.asked.map(({ step, phase, answer }) => `${step} ${phase} ${answer}`)).to.deep.equal([
      'fence apply failed',
    ]);
    expect(run.view.serving.epoch).to.equal(1);
    run.act('resume');
    run.play(() => 'ok', turns());
    expect(run.story()).to.include('fenced: agent-stopped').and.include('promoted');
    expect(run.state).to.equal('awaiting-commit');
    const scripted = played('unplanned', 'failed', 'ok');
    expect(scripted.story()).to.include('fenced: script');
  });

  it('FM1 a promotion that is there already is not made again; another host’s fails the step', () => {
    const { view } = played('unplanned', 'failed', 'failed');
    const fence = view.steps.find(({ id }) => id === 'fence')!;
    const running: RunView = { ...view, run: { ...view.run, state: 'running', fenceProof: 'person' } };
    expect(fenceEffect(running, fence)).to.equal('promote');
    expect(fenceEffect({ ...running, serving: { ...view.serving, phase: 'ordered' } }, fence)).to.equal(undefined);
    expect(fenceEffect({ ...running, serving: { primary: 'web-2', epoch: 2, phase: 'open' } }, fence)).to.equal(
      undefined,
    );
    expect(fenceEffect({ ...running, run: { ...running.run, fenceProof: '' } }, { ...fence, facts: {} })).to.equal(
      'stop-primary',
    );
  });

  it('AC2 once the new primary serves nothing is rolled back or aborted; before that it is', () => {
    const done = played('unplanned');
    expect(done.state).to.equal('awaiting-commit');
    for (const action of ['rollback', 'abort'] as const) expect(refusalOf(done.view, action)).to.include('already');
    const early = played('planned', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'failed');
    expect(refusalOf(early.view, 'rollback')).to.equal('allowed');
  });

  it('AC4 what ends a preparation ends no failover, and the other way round', () => {
    const { view } = played('unplanned', 'failed', 'failed');
    const prepares: RunView = { ...view, run: { ...view.run, state: 'preparing', ahead: true } };
    expect(refusalOf(prepares, 'end-ahead')).to.equal('allowed');
    expect(refusalOf(prepares, 'abort')).to.include('nothing fails over yet');
    expect(refusalOf(view, 'abort')).to.equal('allowed');
    expect(refusalOf(view, 'end-ahead')).to.include('the unplanned run itself');
  });

  it('with several steps that failed, a person names the one to skip', () => {
    const run = played('unplanned', 'ok', 'failed', 'failed');
    expect(run.view.run).to.include({ state: 'paused', pause: 'step' });
    const failed = run.view.steps.filter(({ state }) => state === 'failed').map(({ id }) => id);
    expect(failed).to.deep.equal(['one', 'two']);
    expect(refusalOf(run.view, 'skip')).to.include('there are several steps');
    expect(refusalOf(run.view, 'skip', 'nine')).to.include('no step "nine"');
    expect(refusalOf(run.view, 'skip', 'start')).to.include('allowed');
    run.act('retry');
    run.play(() => 'ok', turns());
    expect(run.state).to.equal('awaiting-commit');
  });

  it('an action is refused with the state of the run, or leads along the tables: never anything else', () => {
    const { view } = played('unplanned', 'ok', 'failed');
    for (const state of RUN_STATES) {
      for (const action of ACTIONS) {
        const there: RunView = { ...view, run: { ...view.run, state, pause: state === 'paused' ? 'step' : '' } };
        try {
          advance(there, actOn(there, { action, step: '', reason: '', actor: 'operator ann' }).decisions);
        } catch (error) {
          expect(error, `${state} ${action}`).to.have.property('code').that.is.oneOf(['FAILED_PRECONDITION', 'USAGE']);
        }
      }
    }
  });

  it('who is told why a run waits reads the command that goes on', () => {
    const failed = played('unplanned', 'ok', 'ok', 'failed');
    expect(failed.view.run.state, failed.story()).to.equal('paused');
    expect(failed.view.run.reason).to.match(/^"(one|two)" on web-2: .*; mend it, then: holdfast run retry \S+ \1$/);
  });

  it('a run whose point was spoilt while it waited ends before anything is touched', () => {
    const { view } = played('unplanned', 'failed', 'failed');
    const run = { ...view.run, state: 'awaiting-approval', approvalsNeeded: 1 } as const;
    const spoilt = ['the snapshot of files that the run would restore is gone'];
    const [decision] = decide({ ...view, run, spoilt, approvals: new Map([['', 1]]) });
    expect(decision).to.include({ kind: 'run', event: 'fail' });
    expect(decision).to.have.property('reason').that.includes('nothing was touched').and.includes('holdfast plan run');
    expect(decide({ ...view, run, approvals: new Map([['', 1]]) })).to.deep.include({ kind: 'run', event: 'go' });
  });
});
