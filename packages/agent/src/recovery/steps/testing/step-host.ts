// A step runner on a directory of its own, and orders for it.

import { Writable } from 'node:stream';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { openLog } from '@holdfast/shared/runtime/log';
import type { HostStep, StepAction, StepReport } from '../../contract.ts';
import { newStepRunner, type StepRunnerDeps } from '../step-runner.ts';

export const RUN = '6d0f8a52-24a6-4c37-a1a5-3a1f3cf3ad01';

export interface StepHost {
  /** Every line of its log, in JSON. */
  readonly logged: string[];
  /** @param given besides the defaults: first attempt, 20 s, no secrets */
  do(action: StepAction, spec: HostStepSpec, given?: Partial<HostStep>, signal?: AbortSignal): Promise<StepReport>;
}

export function orderOf(action: StepAction, spec: HostStepSpec, given: Partial<HostStep> = {}): HostStep {
  return {
    application: '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb10',
    plan: 'shop',
    run: RUN,
    step: spec.id,
    attempt: 1,
    term: 1,
    epoch: 1,
    action,
    spec,
    timeoutMs: 20_000,
    sandbox: '',
    secrets: new Map(),
    services: {},
    resolved: {},
    ...given,
  };
}

/** The same directory makes it the host of an earlier one, after a restart of its agent. */
export function stepHost(stateDir: string, deps: Partial<StepRunnerDeps> = {}): StepHost {
  const logged: string[] = [];
  const stream = new Writable({
    write(line: Buffer, _encoding, done) {
      logged.push(line.toString());
      done();
    },
  });
  const log = openLog({ program: 'agent', level: 'debug', stream });
  const runner = newStepRunner({ clock: systemClock, log, stateDir, serving: undefined, services: {}, ...deps });
  return {
    logged,
    do: (action, spec, given = {}, signal = new AbortController().signal) =>
      runner.run(orderOf(action, spec, given), signal),
  };
}
