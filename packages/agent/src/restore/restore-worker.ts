// A restore thread: takes tasks from its parent one after the other and answers each.

import { parentPort, workerData } from 'node:worker_threads';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { RestoreAnswer, RestoreTask, RestoreThreadData } from './restore-task.ts';
import { RestoreThread } from './restore-thread.ts';
import { toCrossed, type PostedAnswer, type PostedTask } from './worker-pool.ts';

const port = parentPort;
if (port === null) throw new Error('restore-worker is started as a thread');

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- set by restore.ts alone
const thread = new RestoreThread(workerData as RestoreThreadData);

port.on('message', ({ id, task }: PostedTask<RestoreTask>) => {
  let answer: PostedAnswer<RestoreAnswer>;
  try {
    answer = { id, result: thread.run(task) };
  } catch (error) {
    answer = { id, error: toCrossed(toHoldfastError(error)) };
  }
  port.postMessage(answer);
});
