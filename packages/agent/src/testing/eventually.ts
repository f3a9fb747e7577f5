// Waiting for something that another thread, process or connection does; mocha's own limit ends a wait that is in vain.

import { setTimeout as delay } from 'node:timers/promises';

export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(10);
}
