// What a step that is one program did, from its record and its exit code.
//
// Tested in step-conformance.test.ts.

import type { StepRecord } from './step-records.ts';
import type { StepAnswer, StepContext } from './step-type.ts';
import type { Ending } from './supervised-program.ts';

const LOOK_HINT = 'Look on the host, then skip or retry the step; a `probe` in the plan would tell.';

/** Is it done? Unknown when the program was ended before it could say. */
export function fromRecord(context: StepContext, record: StepRecord | undefined): StepAnswer {
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
    return { state: 'unknown', message, remedy: LOOK_HINT };
  }
  const done = code === 0 && wasApply;
  return { state: done ? 'done' : 'not-done', message: `its program ended with exit code ${code}` };
}

export function judged(program: string, ending: Ending): StepAnswer {
  if (ending.kind === 'exited') {
    if (ending.code === 0) return { state: 'ok', message: `${program} ended well` };
    const facts = { 'exit-code': String(ending.code) };
    return { state: 'failed', message: `${program} ended with exit code ${ending.code}`, facts };
  }
  if (ending.kind === 'vanished') {
    return { state: 'unknown', message: `${program} was ended by something else`, remedy: LOOK_HINT };
  }
  return { state: 'failed', message: `${program} was ended when its time was over`, facts: { 'timed-out': 'yes' } };
}
