// `fence`: the plan's own program makes sure that the old primary is off (a power switch, a hypervisor, a cloud's call). Exit code 0 confirms it.
//
// Hazard: a confirmation on a guess makes two hosts serve. So nothing but that exit code is one: not a time-out, not a program that vanished,
// and never what an earlier run's program said.
//
// Tested in step-conformance.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { refusedProgram } from '../../jobs/program.ts';
import { fromRecord, judged } from './program-record.ts';
import type { SpecOf, StepContext, StepType } from './step-type.ts';

type Spec = SpecOf<'fence'>;

export const fenceStep: StepType<Spec> = {
  changes: true,

  async precheck(_spec, context) {
    const script = scriptOf(context);
    const refusal = refusedProgram(script);
    if (refusal === undefined) return { state: 'ok', message: `${script} can be run` };
    return {
      state: 'failed',
      message: refusal,
      remedy: `Put an executable ${script} onto this host; exit code 0 confirms the fence.`,
    };
  },

  async probe(_spec, context, record) {
    return fromRecord(context, record);
  },

  async apply(_spec, context) {
    const script = scriptOf(context);
    const answer = judged(script, await context.run([script], environmentOf(context)));
    return answer.state === 'ok' ? { ...answer, message: `${script} confirms that the old primary is off` } : answer;
  },

  async verify(_spec, context, record) {
    const found = fromRecord(context, record);
    return { ...found, state: found.state === 'done' ? 'ok' : 'failed' };
  },

  adopted: (_spec, context, ending) => judged(scriptOf(context), ending),
};

function scriptOf({ order }: StepContext): string {
  const { script } = order.resolved;
  if (script !== undefined) return script;
  throw new HoldfastError('FAILED_PRECONDITION', 'the plan names no script that fences', {
    hint: 'Write it into the plan: fence: {script: /etc/holdfast/power-off.sh}',
  });
}

function environmentOf(context: StepContext): Record<string, string> {
  const { primary = '' } = context.order.resolved;
  return { ...context.environment(), HOLDFAST_PRIMARY: primary };
}
