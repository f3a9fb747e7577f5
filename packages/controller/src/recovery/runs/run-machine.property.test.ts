import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { preparesAhead } from '@holdfast/shared/recovery/run-ahead';
import type { Mode } from '@holdfast/shared/recovery/step-types';
import { expect } from 'chai';
import fc from 'fast-check';

import { SimulatedRun } from '../../testing/simulated-run.ts';
import { advance } from './advance.ts';
import { endOf } from './preparation.ts';
import { decide } from './run-machine.ts';
import {
  isAtWork,
  isEnd,
  nextRunState,
  nextStepState,
  RUN_EVENTS,
  RUN_STATES,
  STEP_EVENTS,
  STEP_STATES,
  type RunState,
} from './run-states.ts';
import type { RunView, StepJob, StepRow } from './run-view.ts';
import { canProbe } from './step-policy.ts';

describe('the tables of runs and steps', () => {
  it('RM1 an end has no way out, every other state has a way to an end, and every state is reached', () => {
    const reached = new Set<RunState>(['preparing', 'prechecking']);
    for (const state of reached) {
      for (const event of RUN_EVENTS) {
        const next = nextRunState(state, event);
        if (next !== undefined) reached.add(next);
      }
    }
    expect([...reached].toSorted()).to.deep.equal([...RUN_STATES].toSorted());
    for (const state of RUN_STATES) {
      const ways = RUN_EVENTS.filter((event) => nextRunState(state, event) !== undefined);
      expect(ways.length > 0, state).to.equal(!isEnd(state));
      const ends = new Set<RunState>([state]);
      for (const from of ends) {
        for (const event of RUN_EVENTS) {
          const next = nextRunState(from, event);
          if (next !== undefined) ends.add(next);
        }
      }
      expect([...ends].some(isEnd), state).to.equal(true);
    }
  });

  it('RM3 what is skipped or undone stays so, and what is ok can only be undone', () => {
    for (const event of STEP_EVENTS) {
      expect(nextStepState('skipped', event)).to.equal(undefined);
      expect(nextStepState('undone', event)).to.equal(undefined);
      expect(nextStepState('ok', event)).to.equal(event === 'undo' ? 'undoing' : undefined);
    }
  });

  it('a step at work can always end, be lost, or take too long; one that is not can not', () => {
    for (const state of STEP_STATES) {
      for (const event of ['time-out', 'lose'] as const) {
        const possible = nextStepState(state, event) !== undefined;
        if (isAtWork(state)) expect(possible, `${state} ${event}`).to.equal(true);
        else if (event === 'lose') expect(possible, `${state} ${event}`).to.equal(false);
      }
    }
  });
});

const DOCUMENT = (steps: string[], onFailure: string, parallel: number): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {web-1: {bind: 10.0.0.1}, web-2: {bind: 10.0.0.2}}}
sources: [files]
detect: {mode: manual, witnesses: {hosts: [mon-1, api-1], agree: 1, probe: "http://x/"}}
onFailure: ${onFailure}
limits: {parallel: ${parallel}}
steps:
${steps.map((step) => `  - ${step}`).join('\n')}
`;

const STEPS = [
  '{id: rebuild, type: rebuild, users: true, ahead: true}',
  '{id: quiesce, type: service.stop, in: [planned], host: primary, units: [shop], needs: [rebuild]}',
  '{id: last, type: snapshot, in: [planned], sources: [files], needs: [quiesce]}',
  '{id: fence, type: fence, in: [unplanned, planned], needs: [last]}',
  '{id: files, type: restore.files, source: files, unit: cache, needs: [rebuild, fence]}',
  '{id: migrate, type: command, run: [/bin/true], probe: [/bin/true], needs: [files, fence]}',
  '{id: once, type: command, run: [/bin/true], critical: false, needs: [fence]}',
  '{id: start, type: service.start, units: [shop], needs: [migrate, fence]}',
  '{id: healthy, type: check.http, url: "http://${bind}/", needs: [start]}',
  '{id: switch, type: traffic, in: [unplanned, planned], via: [{address: {ip: 10.0.0.9/24, dev: eth0}}], needs: [healthy, fence]}',
  '{id: outside, type: check.http, in: [unplanned, planned], from: witnesses, url: "http://10.0.0.9/", needs: [switch]}',
  '{id: pause, type: wait, for: 2s, needs: [fence]}',
];

const planOf = (onFailure: string, parallel: number): SimulatedRun['plan'] => {
  const { plan, findings } = checkPlan(DOCUMENT(STEPS, onFailure, parallel));
  if (plan === undefined || findings.length > 0) throw new Error(JSON.stringify(findings));
  return plan;
};

describe('runs of the machine', () => {
  const mode = fc.constantFrom<Mode>('drill', 'planned', 'unplanned');
  const onFailure = fc.constantFrom('pause', 'continue', 'rollback');
  const answers = fc.infiniteStream(
    fc.oneof(
      { weight: 12, arbitrary: fc.constant('ok' as const) },
      { weight: 2, arbitrary: fc.constant('failed' as const) },
      { weight: 2, arbitrary: fc.constant('lost' as const) },
      { weight: 1, arbitrary: fc.constant('unknown' as const) },
      { weight: 1, arbitrary: fc.constant('silence' as const) },
    ),
  );
  const order = fc.infiniteStream(fc.nat({ max: 1_000_000 }));

  it('SC4 ends well in every mode when every host does what it is told, in whatever order', () => {
    fc.assert(
      fc.property(mode, fc.integer({ min: 1, max: 5 }), order, (chosen, parallel, turns) => {
        const run = new SimulatedRun(planOf('pause', parallel), chosen);
        run.play(() => 'ok', turns);
        expect(run.state, run.story()).to.equal(chosen === 'drill' ? 'done' : 'awaiting-commit');
        expect(run.mostAtWork).to.be.at.most(parallel);
      }),
      { numRuns: 100 },
    );
  });

  it('MC1 MC2 comes to an end or waits for a person, whatever hosts answer, by edges of the tables alone', () => {
    fc.assert(
      fc.property(mode, onFailure, answers, order, (chosen, then, words, turns) => {
        const run = new SimulatedRun(planOf(then, 3), chosen);
        run.play(() => words.next().value ?? 'ok', turns);
        const quiet: readonly RunState[] = [
          'paused',
          'awaiting-commit',
          'done',
          'failed',
          'rolled-back',
          'clean-up-incomplete',
        ];
        expect(quiet, run.story()).to.include(run.state);
      }),
      { numRuns: 300 },
    );
  });

  it('MC3 P3 in a drill nothing is asked of the primary, and there is no fence and no traffic', () => {
    fc.assert(
      fc.property(onFailure, answers, order, (then, words, turns) => {
        const run = new SimulatedRun(planOf(then, 3), 'drill');
        run.play(() => words.next().value ?? 'ok', turns);
        expect(run.asked.filter((job) => job.host === 'web-1')).to.deep.equal([]);
        expect(run.asked.filter((job) => job.type === 'fence' || job.type === 'traffic')).to.deep.equal([]);
      }),
      { numRuns: 100 },
    );
  });

  it('MC4 a run that ends while it waits for approval cancels what runs ahead for it', () => {
    const fresh = new SimulatedRun(planOf('pause', 3), 'unplanned').view;
    let view: RunView = { ...fresh, run: { ...fresh.run, state: 'awaiting-approval', approvalsNeeded: 1 } };
    const began = advance(view, decide(view));
    view = { ...view, run: began.run, steps: began.steps };
    expect(began.orders.map(({ step, phase }) => `${step} ${phase}`)).to.deep.equal(['rebuild apply']);
    expect(decide(view)).to.deep.equal([]);
    const spoilt = { ...view, spoilt: ['files'] };
    const ended = advance(spoilt, decide(spoilt));
    expect(ended.run.state).to.equal('failed');
    expect(ended.cancelled).to.deep.equal(['rebuild']);
  });

  it('SM3 a restore whose host came back is not begun again before it is known what became of its job', () => {
    const { view } = new SimulatedRun(planOf('pause', 3), 'unplanned');
    const steps = view.steps.map((step): StepRow =>
      step.id === 'files' ? { ...step, state: 'unknown', attempt: 1, phase: 'apply', hostAwayMs: 0 } : step,
    );
    const job: StepJob = {
      jobId: 'first',
      stepId: 'files',
      phase: 'apply',
      part: '',
      acknowledged: false,
      report: undefined,
      finishedAt: null,
    };
    const back = (report: StepJob['report']): RunView => {
      const run = { ...view.run, state: 'paused', pause: 'unknown' } as const;
      return { ...view, run, steps, jobs: [{ ...job, report }] };
    };
    expect(decide(back(undefined))).to.deep.equal([]);
    const nothing = { message: '', remedy: '', output: '', facts: {} };
    const again = decide(back({ state: 'lost', ...nothing }));
    expect(again).to.deep.include({ kind: 'step', step: 'files', event: 'retry', dueInMs: 0 });
    const done = advance(back({ state: 'ok', ...nothing }), decide(back({ state: 'ok', ...nothing })));
    expect(done.steps.find(({ id }) => id === 'files')?.state).to.not.equal('unknown');
    expect(done.orders.filter(({ step, phase }) => step === 'files' && phase === 'apply')).to.deep.equal([]);
  });

  it('runs ahead only what may, also of a document that an older version accepted', () => {
    const plan = planOf('pause', 3);
    const steps = plan.steps.map((step) => ({
      ...step,
      ahead: step.ahead || step.type === 'service.start',
      needs: [],
    }));
    const { view } = new SimulatedRun({ ...plan, steps }, 'unplanned');
    const waiting: RunView = { ...view, run: { ...view.run, state: 'awaiting-approval', approvalsNeeded: 1 } };
    const { orders } = advance(waiting, decide(waiting));
    expect(orders.map(({ step }) => step)).to.deep.equal(['rebuild']);
  });

  it('PR1 a preparation asks for nothing but what may be prepared, on the standby, whatever is answered, and comes to rest', () => {
    const plan = planOf('pause', 3);
    const parts = plan.steps.map((step) =>
      fc.record({ step: fc.constant(step), ahead: fc.boolean(), needs: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.tuple(...parts), answers, order, (changes, words, turns) => {
        const steps = changes.map(({ step, ahead, needs }) => ({ ...step, ahead, needs: needs ? step.needs : [] }));
        const run = new SimulatedRun({ ...plan, steps }, 'unplanned', 'preparing');
        run.play(() => words.next().value ?? 'ok', turns);
        expect(run.state).to.equal('preparing');
        const may = new Set(steps.filter((step) => preparesAhead(step, plan)).map(({ id }) => id));
        for (const { step, host } of run.asked) {
          expect(may, run.story()).to.include(step);
          expect(host).to.equal('web-2');
        }
        const began = run.view.steps.filter(({ state }) => state !== 'pending').map(({ id }) => id);
        expect(began.filter((id) => !may.has(id))).to.deep.equal([]);
        const ended = advance(run.view, endOf(run.view, { reason: 'heard', gently: false }));
        expect(ended.run.state).to.equal('cancelled');
        const atWork = run.view.steps.filter(({ state }) => isAtWork(state)).map(({ id }) => id);
        expect(ended.cancelled, 'PR4').to.deep.equal(atWork);
      }),
      { numRuns: 200 },
    );
  });

  it('PR3 a run that waits for its turn goes on with what was prepared for it, and begins nothing else', () => {
    const run = new SimulatedRun(planOf('pause', 3), 'unplanned', 'preparing');
    const began = advance(run.view, decide(run.view));
    const adopted = { ...began.run, state: 'prechecking' } as const;
    const view: RunView = { ...run.view, run: adopted, steps: began.steps, notYet: 'others come first' };
    expect(decide(view)).to.deep.equal([]);
    const job = {
      jobId: 'j',
      stepId: 'rebuild',
      phase: 'apply',
      part: '',
      acknowledged: true,
      finishedAt: view.now,
    } as const;
    const report = { state: 'ok', message: '', remedy: '', output: '', facts: {} } as const;
    const { orders, run: after } = advance(view, decide({ ...view, jobs: [{ ...job, report }] }));
    expect(orders.map(({ step, phase }) => `${step} ${phase}`)).to.deep.equal(['rebuild verify']);
    expect(after.state).to.equal('prechecking');
  });

  it('SM1 SM2 what can be probed is never applied twice without a probe that said not-done in between', () => {
    fc.assert(
      fc.property(mode, answers, order, (chosen, words, turns) => {
        const run = new SimulatedRun(planOf('pause', 3), chosen);
        run.play(() => words.next().value ?? 'ok', turns, { retries: 3 });
        for (const step of run.plan.steps.filter(({ type }) => canProbe(type))) {
          const story = run.asked.filter(
            (job) => job.step === step.id && ['apply', 'probe', 'undo'].includes(job.phase),
          );
          story.forEach((job, index) => {
            const last = story[index - 1];
            if (job.phase !== 'apply' || last === undefined) return;
            expect([last.phase, last.answer], run.story()).to.deep.equal(['probe', 'not-done']);
          });
        }
      }),
      { numRuns: 300 },
    );
  });

  it('FM1 a real run never starts a service or moves traffic before the fence is done', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<Mode>('planned', 'unplanned'),
        onFailure,
        answers,
        order,
        (chosen, then, words, turns) => {
          const run = new SimulatedRun(planOf(then, 4), chosen);
          run.play(() => words.next().value ?? 'ok', turns, { retries: 2 });
          for (const job of run.asked) {
            if (job.host === 'web-1' || !['service.start', 'traffic'].includes(job.type)) continue;
            if (job.phase !== 'precheck') expect(job.promoted, run.story()).to.equal(true);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
