import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { fleetDown, fleetKill, fleetStart, fleetStatus, fleetUp, holdfast } from './fleet.ts';
import { layoutOf } from './layout.ts';
import { quoted } from './shell.ts';

/** Everything that runs with this directory in its command line. */
function processesOf(dir: string): number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(dir)) found.push(Number(name));
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

describe('a disposable fleet', function fleet() {
  this.timeout(180_000);
  let dir: string;

  before(() => {
    // A blank and a quote in the path, because people have them.
    dir = join(mkdtempSync(join(tmpdir(), 'holdfast-fleet-')), "it's a fleet");
    mkdirSync(dir, { recursive: true });
    execFileSync('chmod', ['711', join(dir, '..')]);
  });
  after(async () => {
    await fleetDown(dir).catch(() => []);
    rmSync(join(dir, '..'), { recursive: true, force: true });
  });

  it('F1 returns when every host is online, and the shell that sources DIR/env is logged in', async () => {
    await fleetUp({ dir, hosts: ['web-1'] });
    // What the user's shell has set up for another controller must not leak in.
    const env = { PATH: process.env['PATH'], HOLDFAST_ADDRESS: '127.0.0.1:1' };
    for (const shell of ['sh', 'bash']) {
      const script = `. ${quoted(layoutOf(dir).envFile)}; . ${quoted(layoutOf(dir).envFile)}; cd /; holdfast host ls --json`;
      const listed: unknown = JSON.parse(
        execFileSync(shell, ['-ec', script], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
      );
      expect(listed).to.have.nested.property('hosts[0].name', 'web-1');
      expect(listed).to.have.nested.property('hosts[0].state', 'online');
    }
  });

  it('F1 the main job goes through the wrapper’s program, and a second host joins', async () => {
    await fleetUp({ dir, hosts: ['web-1', 'web-2'] });
    const site = join(dir, 'site');
    mkdirSync(site);
    writeFileSync(join(site, 'index.html'), 'hello');
    expect(await holdfast(dir, ['source', 'add', 'site', '--host', 'web-1', '--path', site])).to.include({ code: 0 });
    expect(await holdfast(dir, ['backup', 'web-1/site'])).to.include({ code: 0 });
    expect(await holdfast(dir, ['restore', 'web-1/site', '--to', `web-2:${join(dir, 'again')}`])).to.include({
      code: 0,
    });
    expect(readFileSync(join(dir, 'again', 'index.html'), 'utf8')).to.equal('hello');
  });

  it('one process can be killed and started again', async () => {
    await fleetKill(dir, 'web-1');
    expect((await fleetStatus(dir)).find(({ name }) => name === 'web-1')).to.deep.equal({
      name: 'web-1',
      pid: undefined,
    });
    await fleetStart(dir, 'web-1');
    expect(await holdfast(dir, ['backup', 'web-1/site'])).to.include({ code: 0 });
  });

  it('F1 goes on with the same state after SIGKILL of everything', async () => {
    for (const pid of processesOf(dir)) process.kill(pid, 'SIGKILL');
    await fleetUp({ dir, hosts: [] });
    const { stdout } = await holdfast(dir, ['snapshot', 'ls', 'web-1/site', '--json']);
    expect(JSON.parse(stdout)).to.have.property('snapshots').with.length(2);
    expect(await holdfast(dir, ['backup', 'web-1/site'])).to.include({ code: 0 });
  });

  it('F2 down leaves no process, not even the PostgreSQL of a controller that was killed', async () => {
    await fleetKill(dir, 'controller');
    expect(await fleetDown(dir)).to.include('postgres');
    expect(processesOf(dir)).to.deep.equal([]);
    expect(await fleetDown(dir)).to.deep.equal([]);
  });

  it('F1 comes up on another port when its own was taken meanwhile', async () => {
    const address = (JSON.parse(readFileSync(layoutOf(dir).stateFile, 'utf8')) as { address: string }).address;
    const thief = createServer();
    await new Promise<void>((resolve) => thief.listen(Number(address.split(':')[1]), '127.0.0.1', resolve));
    try {
      const up = await fleetUp({ dir, hosts: [] });
      expect(up.address).to.not.equal(address);
      expect(await holdfast(dir, ['backup', 'web-1/site'])).to.include({ code: 0 });
    } finally {
      await new Promise((resolve) => thief.close(resolve));
    }
    expect(await fleetDown(dir)).to.have.members(['web-1', 'web-2', 'controller']);
    expect(processesOf(dir)).to.deep.equal([]);
  });
});
