// A process that opens a sandbox, starts a daemon in it, says so, and waits to be killed.

import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import { newSandboxes } from '../sandboxes.ts';

const [stateDir = '', outside = ''] = process.argv.slice(2);
const sandboxes = newSandboxes({ clock: systemClock, log: silentLog, stateDir });
const sandbox = await sandboxes.open({ name: 'killed', application: 'shop', ttlMs: 3_600_000, addresses: [] });
const daemon = `echo lost >${outside}/lost; setsid sleep 7531 </dev/null >/dev/null 2>&1 & echo started`;
await sandbox.run(
  { command: ['/bin/sh', '-c', daemon], timeoutMs: 20_000, environment: {} },
  new AbortController().signal,
);
process.stdout.write(`${sandbox.initPid}\n`);
setInterval(() => undefined, 1000);
