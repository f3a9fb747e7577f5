// `command`: a program of the plan's. What it did is known from its exit code, and better from its probe.
//
// Tested in step-conformance.test.ts.

import { refusedProgram } from '../../jobs/program.ts';
import { fromRecord, judged } from './program-record.ts';
import type { SpecOf, StepAnswer, StepContext, StepType } from './step-type.ts';

type Spec = SpecOf<'command'>;

export const commandStep: StepType<Spec> = {
  changes: true,

  async precheck({ run, probe, undo }, context) {
    for (const [program = ''] of [run, probe ?? run, undo ?? run]) {
      const refusal = refusedProgram(context.path(program));
      if (refusal === undefined) continue;
      const remedy = `Put an executable ${program} onto this host, or restore it before this step.`;
      return { state: 'failed', message: refusal, remedy };
    }
    return { state: 'ok', message: `${run[0]} can be run` };
  },

  async probe(spec, context, record) {
    return spec.probe === undefined ? fromRecord(context, record) : askProbe(spec.probe, context);
  },

  async apply({ run }, context) {
    return judged(run[0] ?? '', await context.run(run, context.environment()));
  },

  async verify(spec, context, record) {
    const found = await this.probe(spec, context, record);
    return { ...found, state: found.state === 'done' ? 'ok' : 'failed' };
  },

  async undo({ undo }, context) {
    if (undo === undefined) return { state: 'failed', message: 'the plan names no program that takes it back' };
    return judged(undo[0] ?? '', await context.run(undo, context.environment()));
  },

  adopted({ run, undo = run }, context, ending) {
    return judged((context.order.action === 'undo' ? undo : run)[0] ?? '', ending);
  },
};

async function askProbe(probe: readonly string[], context: StepContext): Promise<StepAnswer> {
  const { ok, problem, output } = await context.ask(probe, { environment: context.environment() });
  const said = Buffer.from(output);
  if (ok) return { state: 'done', message: `${probe[0]} says that it is done`, output: said };
  const answered = /exit code \d+$/.test(problem);
  return { state: answered ? 'not-done' : 'unknown', message: problem, output: said };
}
