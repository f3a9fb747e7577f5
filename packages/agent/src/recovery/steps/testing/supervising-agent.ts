// An agent that starts a program and is killed before it ends. Argument 1: where output goes; 2: the program.

import { systemClock } from '@holdfast/shared/runtime/clock';
import { runSupervised } from '../supervised-program.ts';

const [base = '', program = ''] = process.argv.slice(2);
const onReady = (supervisor: unknown): void => void process.stdout.write(`${JSON.stringify(supervisor)}\n`);
const run = { command: [program], base, environment: {}, onReady };
await runSupervised(run, 60_000, systemClock, new AbortController().signal);
