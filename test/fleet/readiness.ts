// Waiting for a member of the fleet, and telling why it did not come up.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FleetLayout } from './layout.ts';
import { runs, type ProcessRecord } from './processes.ts';

const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

/** The process ended before it was ready. */
export class MemberEnded extends Error {}

/**
 * Polls until `ready` says so. An error counts as "not yet"; the last one is told when time is up. Throws MemberEnded when the
 * process is gone.
 */
export async function waitFor(
  layout: FleetLayout,
  name: string,
  record: ProcessRecord,
  ready: () => Promise<boolean>,
): Promise<void> {
  const until = performance.now() + READY_TIMEOUT_MS;
  let last = 'it does not answer';
  for (;;) {
    const alive = runs(record);
    try {
      // A process that is being killed may still count as online, so the last look is at the process.
      if (alive && (await ready()) && runs(record)) return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (!alive) {
      throw new MemberEnded(`${name} ended by itself. The end of ${layout.logFile(name)}:\n${logTail(layout, name)}`);
    }
    if (performance.now() > until) {
      throw new Error(
        `${name} did not get ready (${last}). The end of ${layout.logFile(name)}:\n${logTail(layout, name)}`,
      );
    }
    await sleep(POLL_MS);
  }
}

const TAIL_BYTES = 3000;

function logTail(layout: FleetLayout, name: string): string {
  const file = openSync(layout.logFile(name), 'r');
  try {
    const { size } = fstatSync(file);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(file, tail, 0, tail.length, size - tail.length);
    return tail.toString('utf8').trim();
  } finally {
    closeSync(file);
  }
}
