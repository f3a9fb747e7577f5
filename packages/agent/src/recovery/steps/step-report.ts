// What a step answers, without the secrets that it was given: a program may print its own environment.
//
// Tested in step-runner.test.ts (R6).

import type { HostStep, StepReport } from '../contract.ts';
import type { StepAnswer } from './step-type.ts';

/** A shorter secret stands in too many words by chance. */
const SECRET_MIN_BYTES = 4;
const HIDDEN = '[secret]';

/** @param said what programs said, when the answer brings no output of its own */
export function reportOf(order: HostStep, answer: StepAnswer, said: Buffer): StepReport {
  const secrets = [...order.secrets.values()].map((value) => Buffer.from(value).toString('latin1').trim());
  const worth = secrets
    .flatMap((secret) => [secret, ...secret.split(/\s+/)])
    .filter((part) => part.length >= SECRET_MIN_BYTES);
  const hidden = worth.toSorted((a, b) => b.length - a.length);
  const bytes = (text: string): string => hidden.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), text);
  const text = (value: string): string =>
    Buffer.from(bytes(Buffer.from(value).toString('latin1')), 'latin1').toString();
  return {
    state: answer.state,
    message: text(answer.message ?? ''),
    remedy: text(answer.remedy ?? ''),
    output: Buffer.from(bytes((answer.output ?? said).toString('latin1')), 'latin1'),
    facts: Object.fromEntries(Object.entries(answer.facts ?? {}).map(([name, value]) => [name, text(value)])),
  };
}
