// A host that is far away: its port goes through a relay in user space (relay.ts). The kernel here has no netem.
//
// Tested in lab.test.ts.

import { join } from 'node:path';
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { endProcess, forget, recordedProcess, spawnRecorded } from '../fleet/processes.ts';
import { systemEnvironment } from './command.ts';
import { WIRE, type LabLayout } from './layout.ts';
import { detour } from './network.ts';

const READY_MS = 20_000;

/** What the host sends and what it is sent arrives `ms` later, so a round trip takes twice that; 0: as before. */
export async function delayHost(layout: LabLayout, host: string, ms: number): Promise<void> {
  const runFile = layout.runFile(`relay-${host}`);
  const before = recordedProcess(runFile);
  if (before !== undefined) await endProcess(before, 'SIGKILL', 0);
  forget(runFile);
  await detour(layout, host, ms > 0);
  if (ms === 0) return;
  const logFile = join(layout.dir, 'logs', `relay-${host}.log`);
  rmSync(logFile, { force: true });
  const relay = fileURLToPath(siblingModule(import.meta.url, './relay'));
  const words = [process.execPath, ...conditions(), relay, `${host}-n`, `${host}-d`, String(ms)];
  const record = spawnRecorded({
    command: '/usr/bin/nsenter',
    args: [`--net=${layout.namespaceFile(WIRE)}`, ...words],
    env: systemEnvironment(),
    cwd: layout.dir,
    logFile,
    runFile,
  });
  const until = performance.now() + READY_MS;
  while (!readFileSync(logFile, 'utf8').includes('relaying')) {
    if (recordedProcess(runFile) === undefined || performance.now() > until) {
      await endProcess(record, 'SIGKILL', 0);
      throw new Error(`the relay of ${host} did not start: ${readFileSync(logFile, 'utf8').trim()}`);
    }
    await sleep(20);
  }
}

/** A checkout's modules import each other's sources, a build's do not. */
function conditions(): string[] {
  return import.meta.url.endsWith('.ts') ? ['--conditions=holdfast-source'] : [];
}
