// What a type of step works with: programs with their time and their bounds, memory on disk, secrets for programs.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { runProgram } from '../../jobs/program.ts';
import type { HostStep, Services, Serving } from '../contract.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { look } from './looks/look.ts';
import { lookInside } from './looks/look-inside.ts';
import type { StepRecord, StepRecords } from './step-records.ts';
import type { StepContext } from './step-type.ts';
import { exitCode, outputOf, OUTPUT_KEPT_BYTES, runSupervised, type NotedProgram } from './supervised-program.ts';

export interface StepContextDeps {
  readonly order: HostStep;
  readonly clock: Clock;
  readonly log: Log;
  readonly stateDir: string;
  readonly records: StepRecords;
  /** @param noted before each program that a service is started or stopped with */
  readonly services: (noted: () => NotedProgram) => Services;
  readonly sandbox: Sandbox | undefined;
  readonly serving: Serving | undefined;
  readonly signal: AbortSignal;
  readonly untilMs: number;
}

export interface OwnContext extends StepContext {
  /** Adds to what programs said. */
  keep(output: Buffer): void;
  said(): Buffer;
}

const ASK_MS = 30_000;

export function newStepContext(deps: StepContextDeps): OwnContext {
  const { order, clock, records, signal, sandbox } = deps;
  let said = Buffer.alloc(0);
  const leftMs = (): number => Math.max(0, deps.untilMs - clock.monotonicMs());
  const keep = (output: Buffer): void => void (said = bounded(Buffer.concat([said, output])));
  const recordOf = (): StepRecord => {
    const record = records.read(order.run, order.step);
    if (record === undefined) throw new HoldfastError('INTERNAL', 'a step without a record changes something');
    return record;
  };
  const change = (with_: Partial<StepRecord>): void => {
    records.write(order.run, { ...recordOf(), ...with_ }, clock.wallMs());
  };
  // The number of the program before is taken off first: what it left running would be taken for this one.
  const noted = (): NotedProgram => {
    const { process, ...record } = recordOf();
    if (process !== undefined) records.write(order.run, record, clock.wallMs());
    return { base: records.base(order.run, order.step), onReady: (started) => change({ process: started }) };
  };
  return {
    order,
    clock,
    log: deps.log,
    stateDir: deps.stateDir,
    signal,
    services: deps.services(noted),
    serving: deps.serving,
    untilMs: deps.untilMs,
    keep,
    said: () => said,
    exitCode: () => exitCode(records.base(order.run, order.step)),
    where: (command) => sandbox?.wrap(command) ?? command,
    path: (path) => sandbox?.hostPath(path) ?? path,
    look(target) {
      return sandbox === undefined ? look(target, signal) : lookInside(sandbox, target, signal);
    },
    async run(words, environment = {}) {
      const command = this.where(words);
      const { base, onReady } = noted();
      const ending = await runSupervised({ command, base, environment, onReady }, leftMs(), clock, signal);
      keep(outputOf(base));
      // Whoever ended it first: its own clock, or the step's.
      if (ending.kind === 'interrupted') throw interrupted(words, leftMs() === 0 ? 'time' : ending.why, order);
      return ending;
    },
    ask(words, { timeoutMs = ASK_MS, environment = {} } = {}) {
      const command = this.where(words);
      return runProgram({ command, timeoutMs: Math.min(timeoutMs, leftMs()), environment }, clock, signal);
    },
    memory: () => records.read(order.run, order.step)?.memory ?? {},
    remember(facts) {
      change({ memory: { ...this.memory(), ...facts } });
    },
    environment: () => environmentOf(order),
  };
}

function interrupted(command: readonly string[], why: 'time' | 'cancelled', order: HostStep): HoldfastError {
  if (why === 'cancelled') return new HoldfastError('CANCELLED', `${command[0]} was ended: the step was cancelled`);
  return new HoldfastError(
    'TIMED_OUT',
    `${command[0]} was ended after the step's ${Math.round(order.timeoutMs / 1000)} s`,
  );
}

function bounded(output: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  if (output.length <= OUTPUT_KEPT_BYTES) return output;
  const half = OUTPUT_KEPT_BYTES / 2;
  return Buffer.concat([output.subarray(0, half), output.subarray(-half)]);
}

function environmentOf(order: HostStep): Record<string, string> {
  const variables: Record<string, string> = {
    HOLDFAST_PLAN: order.plan,
    HOLDFAST_RUN: order.run,
    HOLDFAST_STEP: order.step,
    HOLDFAST_ATTEMPT: String(order.attempt),
    HOLDFAST_ACTION: order.action,
  };
  for (const [name, value] of order.secrets) {
    const text = Buffer.from(value).toString('utf8');
    if (text.includes('\0') || !Buffer.from(text).equals(value)) {
      throw new HoldfastError(
        'INVALID_ARGUMENT',
        `the secret ${name} is not text, and a program's environment holds nothing else`,
      );
    }
    variables[`HOLDFAST_SECRET_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`] = text;
  }
  return variables;
}
