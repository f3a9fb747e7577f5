// The person on call, from a test: everything that the controller tells them arrives on the host `client`.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { systemEnvironment } from './command.ts';
import { eventually } from './eventually.ts';
import type { Lab } from './lab.ts';
import { parseLines } from './load-report.ts';
import { machine } from './machines.ts';

const HOST = 'client';
const PORT = 8099;
const LOG = '/var/log/pager.log';

/** For `contacts` of a plan. */
export const PAGER_URL = `http://${machine(HOST).address}:${PORT}/`;

interface Page {
  readonly template: string;
  readonly run: string | null;
  readonly subject: string;
  readonly text: string;
}

/** From now on they can be reached, until the lab is gone. */
export async function goOnCall(lab: Lab): Promise<void> {
  const program = fileURLToPath(siblingModule(import.meta.url, './pager'));
  const words = [process.execPath, program, machine(HOST).address, String(PORT), LOG];
  const child = spawn('nsenter', lab.host(HOST).entering(words), {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: systemEnvironment(),
  });
  // It ends with its host.
  child.unref();
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('close', (code) => reject(new Error(`the pager ended with ${code}`)));
  });
  child.stdout.destroy();
}

function pages(lab: Lab): Page[] {
  const file = lab.host(HOST).file(LOG);
  return existsSync(file) ? parseLines<Page>(readFileSync(file, 'utf8')) : [];
}

/** The first message with this template about this run. */
export async function untilPaged(lab: Lab, run: string, template: string): Promise<Page> {
  let found: Page | undefined;
  await eventually(`somebody is told: ${template}`, async () => {
    const told = pages(lab).filter((page) => page.run === run);
    found = told.find((page) => page.template === template);
    return found === undefined ? `told was ${told.map((page) => page.subject).join('; ') || 'nothing'}` : undefined;
  });
  return found!;
}
