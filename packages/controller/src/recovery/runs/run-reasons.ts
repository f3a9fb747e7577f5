// Why a run waits, or came to its end, in words for people: what happened, and the command that goes on.
//
// Hazard: it is read at three in the morning on a telephone, by somebody who did not write the plan. So the command stands there word for word,
// and nothing that a program printed is so long that it is cut off.
//
// Pure. Tested in actions.test.ts.

import type { RunRow, RunView, StepRow } from './run-view.ts';

const PART_MAX = 1000;
const LAST_WORDS_MAX = 200;

/** What is typed, word for word. */
export function wayOn({ id }: Pick<RunRow, 'id'>, action: string, step = ''): string {
  return ['holdfast run', action, id.slice(0, 8), ...(step === '' ? [] : [step])].join(' ');
}

export function whatFailed({ id, hostName, message }: StepRow): string {
  return `"${id}" on ${hostName || 'the controller'}: ${message === '' ? 'it failed' : clipped(message)}`;
}

/** Of a step that failed, or that nobody approved in time. */
export function failedReason(run: RunRow, step: StepRow): string {
  const what = whatFailed(step);
  if (step.spec.type === 'approval') return `${what}; it still can be: ${wayOn(run, 'approve', step.id)}`;
  return `${what}${lastWords(step)}; mend it, then: ${wayOn(run, 'retry', step.id)}`;
}

/** Of a step whose end nobody knows. @param settled its host was asked, and can't tell either */
export function unknownReason(run: RunRow, step: StepRow, settled: boolean): string {
  const what = whatFailed(step);
  if (settled) return `${what}; look there, then: ${wayOn(run, 'retry', step.id)} (or skip, if it was done)`;
  return `${what}; it goes on by itself once ${step.hostName} is back; without it: ${wayOn(run, 'skip', step.id)}`;
}

export function stuckUndoReason(run: RunRow, step: StepRow): string {
  return `"${step.id}" can't be undone: ${clipped(step.message)}; mend it, then: ${wayOn(run, 'resume')}`;
}

/** The recovery point is not what it was when the run pinned it. */
export function spoiltReason({ run, spoilt }: Pick<RunView, 'run' | 'spoilt'>): string {
  const next = `holdfast plan run ${run.planName} --mode ${run.mode}`;
  return `${spoilt.join('; ')}; nothing was touched. Another run chooses anew: ${next}`;
}

function clipped(message: string): string {
  return message.length > PART_MAX ? `${message.slice(0, PART_MAX)}…` : message;
}

/** The line that a program said last: often it says what to mend. */
function lastWords({ output }: StepRow): string {
  const last = output.trimEnd().split('\n').at(-1)?.trim() ?? '';
  return last === '' ? '' : `; it said last: ${last.slice(-LAST_WORDS_MAX)}`;
}
