// "yes", typed by a person, before something that can't be taken back.
//
// Hazard: a program that is asked, and whose next line of input is taken for an answer. So only a terminal is asked; a program says --yes.

import { createInterface } from 'node:readline';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Environment } from './environment.ts';

/** Returns once the whole word was typed. Throws CANCELLED for everything else, USAGE where nobody can be asked. */
export async function confirm(environment: Environment, question: string): Promise<void> {
  if (!environment.stdinIsTerminal) {
    throw new HoldfastError('USAGE', 'nobody is there to be asked', { hint: 'Say --yes, if it is meant.' });
  }
  const reader = createInterface({ input: environment.stdin });
  environment.stderr.write(`${question} Type yes to go on: `);
  const answer = await new Promise<string>((resolve) => {
    reader.once('line', (line) => resolve(line.trim()));
    reader.once('close', () => resolve(''));
  });
  reader.close();
  if (answer !== 'yes') throw new HoldfastError('CANCELLED', 'nothing was started');
}
