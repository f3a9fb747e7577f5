// The thread that runs the program and writes what it prints.
//
// Hazard: a dump that broke off looks like a shorter dump. So the exit code decides: anything but 0, and there is no snapshot.

import { systemClock } from '@holdfast/shared/runtime/clock';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { runProducer } from '../../backup/producer/run-producer.ts';
import { runProgram } from '../../jobs/program.ts';
import { madeEntry } from '../made-entries.ts';
import type { CommandOrder } from './engine.ts';

const SHOWN_OUTPUT = 500;

runProducer(async (writer, data, context) => {
  const { command, file, timeoutMs } = data as CommandOrder;
  const stream = writer.stream(file);
  const result = await runProgram(
    {
      command,
      timeoutMs,
      environment: {},
      onOutput: (chunk) => {
        stream.write(chunk);
      },
    },
    systemClock,
    context.signal,
  );
  context.throwIfCancelled();
  const said = result.output.trim().slice(-SHOWN_OUTPUT);
  if (!result.ok) {
    throw new HoldfastError('FAILED_PRECONDITION', said === '' ? result.problem : `${result.problem}: ${said}`, {
      hint: 'No snapshot was made. Run the program by hand as the agent’s user to see what ails it.',
    });
  }
  if (said !== '') writer.warn('command', file, said);
  stream.end(madeEntry(Date.now()));
});
