// The catalog is lost; the packs, the master key and the recovery sheet are not. By the very commands of docs/operations.md.

import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { compareTrees } from '../compare/compare-trees.ts';
import { plantWorstTree } from '../compare/worst-tree.ts';
import { builtPrograms } from '../fleet/built.ts';
import { fleetDown, fleetStart } from '../fleet/fleet.ts';
import { Lab } from './lab.ts';

const run = promisify(execFile);
const LARGE_BYTES = 3_000_000;

describe('the catalog is lost', function lostCatalog() {
  this.timeout(120_000);
  let lab: Lab;
  let site: string;
  let sheet: string;

  const controller = async (...args: readonly string[]): Promise<string> => {
    const { node, controller: program } = builtPrograms();
    const done = await run(node, [program, ...args, '--data', lab.layout.controllerDir], {
      env: { PATH: process.env['PATH'] },
    });
    return done.stdout;
  };

  before(async () => {
    lab = await Lab.open(['web-1', 'web-2']);
    site = lab.directory('site');
    plantWorstTree(site, { many: 300 });
    writeFileSync(join(site, 'large'), seededBytes('large', LARGE_BYTES));
    await lab.addSource('web-1', 'site', site);
    await lab.job('backup', 'web-1/site');
    writeFileSync(join(site, 'later'), 'later');
    await lab.job('backup', 'web-1/site');
    sheet = lab.path('sheet');
    writeFileSync(sheet, await controller('recovery-sheet'), { mode: 0o600 });
  });
  after(async () => await lab.close());

  it('and comes back from packs, master key and sheet: names, snapshots, a restore on a host that is enrolled again', async () => {
    const before = await lab.snapshots('web-1/site');
    await fleetDown(lab.fleetDir);
    rmSync(join(lab.layout.controllerDir, 'postgres'), { recursive: true });

    const said = await controller('rebuild', '--recovery-sheet', sheet);
    expect(said).to.contain('2 snapshots').and.contain('to do: enrol web-1 again');
    expect(said).not.to.match(/incomplete|warning/);

    await fleetStart(lab.fleetDir, 'controller');
    expect(await lab.snapshots('web-1/site')).to.deep.equal(before);
    expect(await lab.cli('status'))
      .to.include({ code: 3 })
      .and.have.property('stdout')
      .that.contains('is not enrolled');
    // web-2 had no snapshot, and nobody knows of it any more.
    for (const host of ['web-1', 'web-2']) await enrolAgain(host);
    await lab.up([]);

    await lab.done('restore', 'web-1/site', '--to', `web-2:${lab.path('again')}`, '--setuid');
    expect((await compareTrees(site, lab.path('again'))).differences).to.deep.equal([]);
    expect(await lab.ok('snapshot', 'diff', 'web-1/site')).to.contain('later');
    await lab.done('restore', 'web-1/site', '--verify', 'later', '--to', 'web-2:/');
  });

  it('and the next backup knows its paths, goes on with the numbers, and sends nothing twice', async () => {
    const { summary } = await lab.job('backup', 'web-1/site');
    // Not 0: a preallocated file may show other holes once the kernel has written it back, and half a MiB is read anew.
    expect(summary.bytesNew).to.be.lessThan(LARGE_BYTES / 2);
    const [newest] = await lab.snapshots('web-1/site');
    expect(newest?.sequence).to.equal(3);
  });

  async function enrolAgain(host: string): Promise<void> {
    const { token } = JSON.parse(await lab.ok('host', 'add', host, '--json')) as { token: string };
    const { node, agent } = builtPrograms();
    await run(node, [agent, 'enrol', '--replace', '--state', lab.layout.hostDir(host), token]);
  }
});
