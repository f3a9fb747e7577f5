// A thread that waits for pressure to fall, for pressure.test.ts.

import { parentPort, workerData } from 'node:worker_threads';
import { Pressure } from '../pressure.ts';

const pressure = new Pressure(workerData as SharedArrayBuffer);
parentPort!.postMessage('waiting');
pressure.waitUntil(() => pressure.heldBytes() === 0);
parentPort!.postMessage(`held ${pressure.heldBytes()}`);
