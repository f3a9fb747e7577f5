// A lab for a suite of tests: made before them, gone after them, and where there can be none the suite says so.

import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Suite } from 'mocha';
import { Lab } from './lab.ts';
import { SERVICE_ADDRESS } from './machines.ts';
import { mustHaveLab, whyNoLab } from './requirements.ts';
import { labUp } from './shop-lab.ts';

const LOGS = ['/var/log/controller.log', '/var/log/agent.log', '/var/log/shop.log'];
const TAIL_LINES = 12;

/**
 * The suite's lab, from its first test on. Without root, programs or namespaces the suite is skipped and says why; in continuous
 * integration that is a failure. A test that fails tells what the hosts logged last.
 * @param make brings the lab up in a directory that is not there yet
 */
export function labFor(suite: Suite, make: (dir: string) => Promise<Lab> = labUp): () => Lab {
  let dir: string | undefined;
  let lab: Lab | undefined;
  suite.beforeAll('a lab', async function bringUp() {
    const why = whyNoLab();
    if (why === undefined) {
      dir = mkdtempSync(join(realpathSync(tmpdir()), 'holdfast-lab-'));
      try {
        lab = await make(join(dir, 'lab'));
      } catch (error) {
        // Half a lab is ended, too.
        await Lab.open(join(dir, 'lab')).down();
        throw error;
      }
      return;
    }
    if (mustHaveLab()) throw new Error(why);
    process.stderr.write(`Skipped: ${why}\n`);
    this.skip();
  });
  suite.afterEach(function tellLogs() {
    if (this.currentTest?.state === 'failed' && lab !== undefined) process.stderr.write(logTails(lab));
  });
  suite.afterAll(async () => {
    await lab?.down();
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
  });
  return () => {
    if (lab === undefined) throw new Error('the lab comes with the first test');
    return lab;
  };
}

/** Neither shop nor web server runs on the host, and the service's address is not its own. */
export async function servesNothing(lab: Lab, name: string): Promise<void> {
  const host = lab.host(name);
  for (const unit of ['shop', 'nginx']) expect(await host.unit(unit, 'status'), `${unit} on ${name}`).to.equal(false);
  expect(await host.ok('ip', 'addr', 'show', 'eth0')).to.not.include(`${SERVICE_ADDRESS}/`);
}

function logTails(lab: Lab): string {
  return lab.hosts
    .flatMap((host) => LOGS.map((path) => ({ title: `${host.name} ${path}`, file: host.file(path) })))
    .filter(({ file }) => existsSync(file))
    .map(({ title, file }) => `--- ${title}\n${readFileSync(file, 'utf8').split('\n').slice(-TAIL_LINES).join('\n')}`)
    .join('\n');
}
