// A run without a catalog or hosts: decisions are made and applied in memory, and hosts answer as a test says, in the order that it says.

import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Mode, Step } from '@holdfast/shared/recovery/step-types';

import { actOn, type Action } from '../recovery/runs/actions.ts';
import { advance } from '../recovery/runs/advance.ts';
import { fenceEffect } from '../recovery/runs/fence-machine.ts';
import { decide, PRECHECK_MS } from '../recovery/runs/run-machine.ts';
import type { RunState } from '../recovery/runs/run-states.ts';
import type { Decision, Phase, Report, RunRow, RunView, StepJob, StepRow } from '../recovery/runs/run-view.ts';
import { refusedInDrill, runsIn } from '../recovery/runs/step-policy.ts';

export type Word = 'ok' | 'failed' | 'lost' | 'unknown' | 'silence';

export interface Asked {
  readonly step: string;
  readonly type: string;
  readonly host: string;
  readonly phase: Phase;
  /** The target was the primary then. */
  readonly promoted: boolean;
  answer: string;
}

interface OpenJob {
  readonly job: StepJob;
  readonly asked: Asked;
  silent: boolean;
}

const START = new Date('2026-01-01T00:00:00Z');
/** Decisions and answers of one run. */
const TURNS_MAX = 5_000;

export class SimulatedRun {
  readonly plan: Plan;
  readonly asked: Asked[] = [];
  mostAtWork = 0;
  #view: RunView;
  #open: OpenJob[] = [];
  #done: StepJob[] = [];
  /** What was really done at hosts, whatever they said. */
  readonly #applied = new Set<string>();
  readonly #story: string[] = [];

  /** @param state where it begins */
  constructor(plan: Plan, mode: Mode, state: RunState = 'prechecking') {
    this.plan = plan;
    const steps = plan.steps
      .filter((step) => runsIn(step, mode))
      .map((step, position) => firstRow(step, position, mode));
    this.#view = {
      run: { ...firstRun(mode), state, ahead: state === 'preparing' },
      plan,
      steps,
      jobs: [],
      approvals: new Map(),
      serving: { primary: 'web-1', epoch: 1, phase: 'open' },
      spoilt: [],
      notYet: undefined,
      now: START,
    };
  }

  get state(): RunState {
    return this.#view.run.state;
  }

  get view(): RunView {
    return this.#view;
  }

  story(): string {
    return this.#story.join('\n');
  }

  /** Goes on until nothing is due any more. `retries`: how often a person resumes it. */
  play(word: () => Word, turns: Iterator<number>, { retries = 0 } = {}): void {
    let left = retries;
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      if (this.#decide() || this.#effects(word)) continue;
      const open = this.#open.filter((one) => !one.silent);
      const chosen = open[(turns.next().value as number) % Math.max(1, open.length)];
      if (chosen !== undefined) this.#answer(chosen, word());
      else if (!this.#passTime()) {
        if (this.state !== 'paused' || left-- <= 0) return;
        this.act('resume');
      }
    }
    throw new Error(`no end:\n${this.#story.slice(-60).join('\n')}`);
  }

  act(action: Action, step = ''): void {
    this.#apply(actOn(this.#view, { action, step, reason: '', actor: 'operator test' }).decisions);
  }

  #decide(): boolean {
    const decisions = decide(this.#view);
    if (decisions.length > 0) this.#apply(decisions);
    return decisions.length > 0;
  }

  #apply(decisions: readonly Decision[]): void {
    const { run, steps, events, orders, cancelled } = advance(this.#view, decisions);
    for (const event of events) this.#story.push(`${event.step || 'run'}: ${event.message}`);
    this.#open = this.#open.filter((one) => !cancelled.includes(one.job.stepId));
    for (const order of orders) {
      const step = steps.find((one) => one.id === order.step);
      const asked: Asked = {
        step: order.step,
        type: step?.spec.type ?? 'sandbox',
        host: step?.hostName ?? 'web-2',
        phase: order.phase,
        promoted: this.#view.serving.primary === 'web-2',
        answer: '',
      };
      this.asked.push(asked);
      this.#story.push(`  asked ${order.step} ${order.phase} ${order.round}`);
      const job = { jobId: '', stepId: order.step, phase: order.phase, part: '', acknowledged: false };
      this.#open.push({ job: { ...job, report: undefined, finishedAt: null }, asked, silent: false });
    }
    this.#view = { ...this.#view, run, steps };
    const atWork = steps.filter(({ state }) => ['dispatched', 'running', 'verifying', 'undoing'].includes(state));
    if (run.state === 'running') this.mostAtWork = Math.max(this.mostAtWork, atWork.length);
    this.#showJobs();
  }

  /** As the store loads them: of the present phase and the last round. */
  #showJobs(): void {
    const { run, steps } = this.#view;
    const jobs = [...this.#done, ...this.#open.map((one) => one.job)];
    const last = new Map(steps.map((step) => [step.id, step]));
    const shown = jobs.filter((job) => {
      if (job.stepId === '') return true;
      return run.state === 'prechecking' ? job.phase === 'precheck' : job.phase === last.get(job.stepId)?.phase;
    });
    const newest = shown.filter(
      (job, index) => job.stepId === '' || !shown.slice(index + 1).some((later) => later.stepId === job.stepId),
    );
    this.#view = { ...this.#view, jobs: newest };
  }

  #effects(word: () => Word): boolean {
    const step = this.#view.steps.find((one) => one.spec.type === 'fence');
    const effect = step === undefined ? undefined : fenceEffect(this.#view, step);
    if (step === undefined || effect === undefined) return false;
    if (effect === 'promote') {
      this.#story.push('  promoted');
      this.#view = { ...this.#view, serving: { primary: 'web-2', epoch: 2, phase: 'open' } };
    } else if (word() === 'ok') this.#apply([{ kind: 'proof', proof: 'agent-stopped' }]);
    else this.#apply([{ kind: 'facts', step: step.id, facts: { primary: 'no answer' } }]);
    return true;
  }

  #answer(open: OpenJob, word: Word): void {
    const { step, phase } = open.asked;
    if (word === 'silence') {
      open.silent = true;
      this.#story.push(`  silence from ${step} ${phase}`);
      return;
    }
    if (phase === 'apply' && word !== 'failed') this.#applied.add(step);
    const state = stateOf(word, phase, this.#applied.has(step));
    open.asked.answer = state;
    this.#story.push(`  ${step} ${phase} says ${state}`);
    const report: Report = { state, message: '', remedy: '', output: '', facts: {} };
    this.#open = this.#open.filter((one) => one !== open);
    this.#done.push({ ...open.job, report, finishedAt: this.#view.now });
    this.#showJobs();
  }

  /** To the next moment at which something is due. */
  #passTime(): boolean {
    const { run, steps, now } = this.#view;
    const dues = [run.dueAt, ...steps.map((step) => step.dueAt)].flatMap((due) =>
      due !== null && due > now ? [due] : [],
    );
    const next = dues.toSorted((a, b) => a.getTime() - b.getTime())[0];
    if (next === undefined) return false;
    this.#view = { ...this.#view, now: next };
    return true;
  }
}

function stateOf(word: Exclude<Word, 'silence'>, phase: Phase, isDone: boolean): Report['state'] {
  if (word === 'lost') return 'lost';
  if (phase !== 'probe') return word;
  if (word === 'ok') return isDone ? 'done' : 'not-done';
  return 'unknown';
}

function firstRun(mode: Mode): RunRow {
  return {
    id: '00000000-0000-4000-8000-000000000001',
    planId: 'plan',
    domainId: 'domain',
    planName: 'shop',
    revision: 1,
    mode,
    ahead: false,
    state: 'prechecking',
    pause: '',
    reason: '',
    fromHost: 'web-1',
    fromName: 'web-1',
    toHost: 'web-2',
    toName: 'web-2',
    epoch: 2,
    automatic: false,
    startedBy: 'operator test',
    startedAt: START,
    finishedAt: null,
    dueAt: new Date(START.getTime() + PRECHECK_MS),
    approvalsNeeded: 0,
    approvedAt: null,
    fenceProof: '',
    protectedAt: null,
    diverged: {},
    point: { atMs: 0, sources: [], findings: [] },
    times: {},
    version: 0,
  };
}

function firstRow(spec: Step, position: number, mode: Mode): StepRow {
  const host = 'host' in spec ? spec.host : '';
  const hostName = host === 'primary' ? 'web-1' : host === 'standby' ? 'web-2' : host;
  const refused = mode === 'drill' ? refusedInDrill(spec, hostName === 'web-1') : undefined;
  return {
    id: spec.id,
    position,
    spec,
    hostId: hostName === '' ? null : hostName,
    hostName,
    hostAwayMs: hostName === '' ? undefined : 0,
    copyReplays: false,
    state: refused === undefined ? 'pending' : 'skipped',
    attempt: 0,
    phase: '',
    round: 0,
    dueAt: null,
    startedAt: null,
    finishedAt: null,
    message: refused ?? '',
    remedy: '',
    output: '',
    facts: {},
  };
}
