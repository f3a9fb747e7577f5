// `command`: a program of the plan's. What it did is known from its exit code, and better from its probe.

import type { StepAnswer, StepContext, SpecOf, StepType } from './step-type.ts';
import { refusedProgram } from '../../jobs/program.ts';
import type { StepRecord } from './step-records.ts';
import type { Ending } from './supervised-program.ts';

type Spec = SpecOf<'command'>;

export const commandStep: StepType<Spec> = {
  changes: true,

  async precheck({ run, probe, undo }) {
    for (const [program = ''] of [run, probe ?? run, undo ?? run]) {
      const refusal = refusedProgram(program);
      if (refusal !== undefined) {
        return {
          state: 'failed',
          message: refusal,
          remedy: `Put an executable ${program} onto this host, or restore it before this step.`,
        };
      }
    }
    return { state: 'ok', message: `${run[0]} can be run` };
  },

  async probe(spec, context, record) {
    if (spec.probe !== undefined) return askProbe(spec.probe, context);
    return fromRecord(context, record);
  },

  async apply(spec, context) {
    return judged(spec.run, await context.run(spec.run, context.environment()));
  },

  async verify(spec, context, record) {
    const found = await this.probe(spec, context, record);
    return { ...found, state: found.state === 'done' ? 'ok' : 'failed' };
  },

  async undo(spec, context) {
    if (spec.undo === undefined) return { state: 'failed', message: 'the plan names no program that takes it back' };
    return judged(spec.undo, await context.run(spec.undo, context.environment()));
  },

  adopted: (spec, context, ending) =>
    judged(context.order.action === 'undo' ? (spec.undo ?? spec.run) : spec.run, ending),
};

async function askProbe(probe: readonly string[], context: StepContext): Promise<StepAnswer> {
  const { ok, problem, output } = await context.ask(probe, { environment: context.environment() });
  if (ok) return { state: 'done', message: `${probe[0]} says that it is done`, output: Buffer.from(output) };
  const answered = /exit code \d+$/.test(problem);
  return { state: answered ? 'not-done' : 'unknown', message: problem, output: Buffer.from(output) };
}

function fromRecord(context: StepContext, record: StepRecord | undefined): StepAnswer {
  if (record === undefined) return { state: 'not-done', message: 'it never began on this host' };
  const wasApply = record.action === 'apply';
  if (record.state === 'ended') {
    const { state, message } = record.report ?? { state: 'unknown', message: '' };
    if (state === 'ok') return { state: wasApply ? 'done' : 'not-done', message };
    return { state: state === 'failed' && wasApply ? 'not-done' : 'unknown', message };
  }
  if (record.process === undefined) return { state: 'not-done', message: 'its program was not started' };
  const code = context.exitCode();
  if (code === undefined) {
    const message = 'its program was ended by something else, and how far it came is not known';
    return {
      state: 'unknown',
      message,
      remedy: 'Look on the host, then skip or retry the step; a `probe` in the plan would tell.',
    };
  }
  const done = code === 0 && wasApply;
  return { state: done ? 'done' : 'not-done', message: `its program ended with exit code ${code}` };
}

function judged([program = '']: readonly string[], ending: Ending): StepAnswer {
  if (ending.kind === 'exited') {
    if (ending.code === 0) return { state: 'ok', message: `${program} ended well` };
    return {
      state: 'failed',
      message: `${program} ended with exit code ${ending.code}`,
      facts: { 'exit-code': String(ending.code) },
    };
  }
  const why = ending.kind === 'vanished' ? 'was ended by something else' : 'was ended when its time was over';
  return { state: ending.kind === 'vanished' ? 'unknown' : 'failed', message: `${program} ${why}` };
}
