import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import { expectError, expectRejection } from '@holdfast/shared/testing/expect-error';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import type { ProgramResult } from '../../jobs/program.ts';
import { eventually } from '../../testing/eventually.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import type { InsideOptions, Sandbox, SandboxOrder, Sandboxes } from './sandbox.ts';
import { missingForSandbox } from './sandbox-process.ts';
import { newSandboxes, removeLeftSandboxes } from './sandboxes.ts';

const ORDER: SandboxOrder = {
  name: 'run-1',
  application: 'shop',
  ttlMs: 3_600_000,
  addresses: ['10.77.0.12', '10.77.0.100/24'],
};
const NOBODY = { uid: 65_534, gid: 65_534 };

/** In a directory of this host: connects to what its argument names, and says how that ended. */
const CONNECT = `
const to = process.argv[1];
const socket = require('node:net').connect(to.includes('/') ? { path: to } : { host: to.split(':')[0], port: Number(to.split(':')[1]) });
socket.on('connect', () => { console.log('connected'); process.exit(0); });
socket.on('error', (error) => { console.log(error.code); process.exit(0); });
setTimeout(() => { console.log('silence'); process.exit(0); }, 3000);
`;

describe('sandboxes of drills', () => {
  let stateDir: string;
  let outside: string;
  let sandboxes: Sandboxes;
  const servers: Server[] = [];

  before(function () {
    const missing = missingForSandbox();
    if (missing === undefined) return;
    if (process.env['HOLDFAST_CI'] === '1') throw new Error(missing);
    console.log(`      skipped: ${missing}`);
    this.skip();
  });

  beforeEach(() => {
    stateDir = scratchDirectory();
    outside = scratchDirectory();
    sandboxes = newSandboxes({ clock: systemClock, log: silentLog, stateDir });
  });

  afterEach(async () => {
    await sandboxes?.stop();
    for (const server of servers.splice(0)) server.close();
    removeScratchDirectories();
  });

  const sh = (sandbox: Sandbox, text: string, options?: InsideOptions): Promise<ProgramResult> =>
    sandbox.run(
      { command: ['/bin/sh', '-c', text], timeoutMs: 20_000, environment: {} },
      new AbortController().signal,
      options,
    );
  const said = async (sandbox: Sandbox, text: string, options?: InsideOptions): Promise<string> =>
    (await sh(sandbox, text, options)).output.trim();
  const connect = (sandbox: Sandbox, to: string): Promise<ProgramResult> =>
    sandbox.run(
      { command: [process.execPath, '-e', CONNECT, to], timeoutMs: 20_000, environment: {} },
      new AbortController().signal,
    );
  const listen = async (at: { path: string } | { host: string; port: number }): Promise<Server> => {
    const server = createServer((socket) => socket.end());
    servers.push(server);
    server.listen(at);
    await once(server, 'listening');
    return server;
  };

  it('SB1 nothing inside reaches a listener outside, on any address or by a socket in the file system', async () => {
    const path = join(outside, 'socket');
    await listen({ path });
    const address = (await listen({ host: '0.0.0.0', port: 0 })).address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const sandbox = await sandboxes.open(ORDER);
    expect((await connect(sandbox, `127.0.0.1:${port}`)).output.trim()).to.equal('ECONNREFUSED');
    expect((await connect(sandbox, `192.0.2.1:${port}`)).output.trim()).to.equal('ENETUNREACH');
    expect((await connect(sandbox, path)).output.trim()).to.equal('ECONNREFUSED');
    expect(await said(sandbox, 'ip -o link | wc -l; ip route | wc -l')).to.equal('1\n0');
  });

  it('has the addresses of the plan on loopback, so that a service inside answers on them', async () => {
    const sandbox = await sandboxes.open(ORDER);
    const server = `require('node:net').createServer((s) => s.end()).listen(8080, '10.77.0.100', () => console.log('up'))`;
    await said(
      sandbox,
      `setsid ${process.execPath} -e "${server}" </dev/null >/run/up 2>&1 & until grep -q up /run/up; do sleep 0.1; done`,
    );
    expect((await connect(sandbox, '10.77.0.100:8080')).output.trim()).to.equal('connected');
    expect((await connect(sandbox, '10.77.0.12:8080')).output.trim()).to.equal('ECONNREFUSED');
  });

  it('SB2 what is written, removed or changed inside is not seen outside', async () => {
    writeFileSync(join(outside, 'kept'), 'as it was');
    const sandbox = await sandboxes.open(ORDER);
    const here = `cd ${outside}`;
    const done = await sh(
      sandbox,
      `${here} && echo new >made && echo changed >kept && rm -f /etc/hostname && cat kept && ls /etc/hostname`,
    );
    expect(done.output).to.match(/^changed\n/);
    expect(done.output).to.match(/No such file/);
    await sh(
      sandbox,
      'echo drill >/run/holdfast-test-drill; echo drill >/tmp/holdfast-test-drill; echo drill >/dev/shm/holdfast-test-drill',
    );
    expect(readFileSync(join(outside, 'kept'), 'utf8')).to.equal('as it was');
    expect(readdirSync(outside)).to.deep.equal(['kept']);
    expect(existsSync('/etc/hostname')).to.equal(true);
    for (const place of ['/run', '/tmp', '/dev/shm'])
      expect(existsSync(`${place}/holdfast-test-drill`), place).to.equal(false);
  });

  it('SB2 the agent’s own directory, this host’s processes and its disks are not there', async () => {
    writeFileSync(join(stateDir, 'identity'), 'secret');
    const sandbox = await sandboxes.open(ORDER);
    expect(await said(sandbox, `ls ${stateDir} | wc -l`)).to.equal('0');
    expect(await said(sandbox, `ls -d /proc/[0-9]* | wc -l`)).to.match(/^[1-9]$/);
    expect(await said(sandbox, 'find /dev -type b | wc -l')).to.equal('0');
    expect((await sh(sandbox, 'mknod /run/disk b 8 0')).ok, 'mknod').to.equal(false);
    expect((await sh(sandbox, 'mount -t tmpfs tmpfs /mnt')).ok, 'mount').to.equal(false);
    expect((await sh(sandbox, 'echo 1 >/proc/sys/kernel/sysrq')).ok, 'sysctl').to.equal(false);
    expect(
      (
        await sh(
          sandbox,
          `nsenter --target 1 --net true && echo 1 >/proc/1/oom_score_adj && kill -9 1; sleep 0.2; true`,
        )
      ).ok,
    ).to.equal(true);
    expect(await said(sandbox, 'echo alive')).to.equal('alive');
  });

  it('runs programs as the account, in the directory and with the environment that are asked for, and reports how they end', async () => {
    const sandbox = await sandboxes.open(ORDER);
    expect(await said(sandbox, 'id -u; id -G; pwd', { account: NOBODY, directory: '/usr' })).to.equal(
      '65534\n65534\n/usr',
    );
    expect(await said(sandbox, 'exit 7')).to.equal('');
    expect((await sh(sandbox, 'exit 7')).problem).to.contain('exit code 7');
  });

  it('gives a restore an empty directory in place of what is there, and paths whose links are followed inside', async () => {
    mkdirSync(join(outside, 'data'));
    writeFileSync(join(outside, 'data', 'live'), '');
    symlinkSync('/etc/hostname', join(outside, 'link'));
    const sandbox = await sandboxes.open(ORDER);
    const own = await sandbox.place(join(outside, 'data'));
    writeFileSync(join(own, 'restored'), 'from the vault');
    expect(await said(sandbox, `ls ${outside}/data; cat ${outside}/data/restored`)).to.equal(
      'restored\nfrom the vault',
    );
    expect(await sandbox.place(`${outside}/./data/`)).to.equal(own);
    writeFileSync(sandbox.hostPath(join(outside, 'link')), 'drill\n');
    expect(await said(sandbox, 'cat /etc/hostname')).to.equal('drill');
    expect(readFileSync('/etc/hostname', 'utf8')).to.not.equal('drill\n');
    expect(readdirSync(join(outside, 'data'))).to.deep.equal(['live']);
    expectError(() => sandbox.place('/'), 'INVALID_ARGUMENT');
    expectError(() => sandbox.hostPath('relative'), 'INVALID_ARGUMENT');
  });

  it('SB3 SB4 a service that made itself independent dies with the sandbox, and nothing is left', async () => {
    const sandbox = await sandboxes.open(ORDER);
    await said(sandbox, '(setsid sleep 7532 </dev/null >/dev/null 2>&1 &) ; sleep 0.1');
    expect(
      await said(
        sandbox,
        'for i in 1 2 3; do sh -c "true &"; done; sleep 0.2; grep -l "State:.Z" /proc/[0-9]*/status | wc -l',
      ),
    ).to.equal('0');
    expect(commandRuns('sleep 7532')).to.equal(true);
    expect(await sandboxes.close('run-1')).to.deep.equal({ left: [] });
    expect(commandRuns('sleep 7532')).to.equal(false);
    expect(readdirSync(join(stateDir, 'drills'))).to.deep.equal([]);
    expectError(() => sandboxes.get('run-1'), 'NOT_FOUND');
    expectError(() => sandbox.wrap(['/bin/true']), 'FAILED_PRECONDITION');
    expect(await sandboxes.close('run-1'), 'once more').to.deep.equal({ left: [] });
  });

  it('SB3 SB4 of an agent that was killed nothing runs on, and its successor removes what lies there', async () => {
    const script = join(import.meta.dirname, 'testing', 'agent-with-sandbox.ts');
    const agent = spawn(process.execPath, ['--conditions=holdfast-source', script, stateDir, outside], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(agent.stdout, 'data')) as [Buffer];
    const initPid = Number(line.toString());
    expect(existsSync(`/proc/${initPid}`)).to.equal(true);
    expect(commandRuns('sleep 7531')).to.equal(true);
    agent.kill('SIGKILL');
    await once(agent, 'exit');
    await eventually(() => !commandRuns('sleep 7531') && !existsSync(`/proc/${initPid}`));
    expect(readdirSync(join(stateDir, 'drills')).toSorted()).to.deep.equal(['killed', 'killed.json']);
    expect(await removeLeftSandboxes({ stateDir, log: silentLog })).to.deep.equal([]);
    expect(readdirSync(join(stateDir, 'drills'))).to.deep.equal([]);
    expect(readdirSync(outside)).to.deep.equal([]);
  });

  it('SB4 says what it could not remove', async () => {
    const sandbox = await sandboxes.open(ORDER);
    const mounted = join(stateDir, 'drills', 'run-1', 'data', 'mounted');
    mkdirSync(mounted);
    await once(spawn('mount', ['-t', 'tmpfs', 'tmpfs', mounted]), 'exit');
    try {
      expect((await sandboxes.close('run-1')).left).to.deep.equal([`the mount ${mounted}`]);
      expect(existsSync(join(stateDir, 'drills', 'run-1.json'))).to.equal(true);
      expectError(() => sandbox.wrap(['/bin/true']), 'FAILED_PRECONDITION');
    } finally {
      await once(spawn('umount', [mounted]), 'exit');
    }
    expect(await sandboxes.close('run-1')).to.deep.equal({ left: [] });
  });

  it('SB5 ends by itself when its time is over', async () => {
    const clock = new ManualClock();
    const own = newSandboxes({ clock, log: silentLog, stateDir });
    const sandbox = await own.open({ ...ORDER, ttlMs: 7_200_000 });
    clock.advance(7_199_999);
    expect(existsSync(`/proc/${sandbox.initPid}`)).to.equal(true);
    clock.advance(1);
    await eventually(() => readdirSync(join(stateDir, 'drills')).length === 0);
    expect(existsSync(`/proc/${sandbox.initPid}`)).to.equal(false);
  });

  it('SB6 says why there is none where the kernel refuses, and leaves nothing of the attempt', async () => {
    const script = join(import.meta.dirname, 'testing', 'agent-with-sandbox.ts');
    const without = ['--bounding-set=-sys_admin', process.execPath, '--conditions=holdfast-source', script];
    const agent = spawn('setpriv', [...without, stateDir, outside], { stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    agent.stderr.on('data', (chunk: Buffer) => (words += chunk.toString()));
    await once(agent, 'exit');
    expect(words).to.match(
      /this host can't make a sandbox, and a drill runs nowhere else: unshare: .*Operation not permitted/,
    );
    expect(readdirSync(join(stateDir, 'drills'))).to.deep.equal([]);
  });

  it('takes no name that could be a path, no address that could be a word of a program, and no more than a few', async () => {
    await expectRejection(sandboxes.open({ ...ORDER, name: '../x' }), 'INVALID_ARGUMENT');
    await expectRejection(sandboxes.open({ ...ORDER, addresses: ['lo; reboot'] }), 'INVALID_ARGUMENT');
    await expectRejection(sandboxes.open({ ...ORDER, ttlMs: 0 }), 'INVALID_ARGUMENT');
    const both = await Promise.all([sandboxes.open(ORDER), sandboxes.open(ORDER)]);
    expect(both[0]).to.equal(both[1]);
  });
});

function commandRuns(text: string): boolean {
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim() === text;
    } catch {
      return false;
    }
  });
}
