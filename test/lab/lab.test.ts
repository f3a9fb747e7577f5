import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { ok } from './command.ts';
import { eventually } from './eventually.ts';
import { labFor } from './testing.ts';
import { Lab } from './lab.ts';

const PING = ['ping', '-n', '-c', '3', '-i', '0.2', '-W', '1'];

describe('the lab', function labs() {
  this.timeout(120_000);
  const bare = labFor(this, async (dir) => await Lab.boot(dir));
  let lab: Lab;
  before(() => {
    lab = bare();
  });

  /** Whether one host hears another's answer. */
  const reaches = async (from: string, to: string): Promise<boolean> =>
    (await lab.host(from).exec([...PING, lab.host(to).address])).code === 0;
  /** Milliseconds of the quickest of three. */
  const roundTrip = async (from: string, to: string): Promise<number> => {
    const said = await lab.host(from).ok(...PING, lab.host(to).address);
    return Number(/rtt min\/avg\/max\/mdev = ([\d.]+)/.exec(said)?.[1]);
  };
  /** Echo requests that have reached a host. */
  const received = async (host: string): Promise<number> => {
    const lines = (await lab.host(host).ok('cat', '/proc/net/snmp'))
      .split('\n')
      .filter((line) => line.startsWith('Icmp:'));
    const [names, values] = lines.map((line) => line.split(' '));
    return Number(values![names!.indexOf('InEchos')]);
  };

  it('every host sees every other, by name, and nothing beyond', async () => {
    for (const from of lab.hosts) {
      const peers = lab.hosts.filter(({ name }) => name !== from.name);
      const script = peers.map(({ name }) => `ping -n -q -c 1 -W 2 ${name} >/dev/null || echo ${name}`).join('; ');
      expect(await from.ok('sh', '-c', script), `what ${from.name} does not reach`).to.equal('');
      expect(await from.ok('ip', 'route', 'show', 'default'), 'a way out').to.equal('');
    }
  });

  it('hosts have their own names, files and processes', async () => {
    await lab
      .host('web-1')
      .ok('sh', '-c', 'mkdir -p /srv/shop /etc/shop && echo one >/srv/shop/a && echo one >/etc/shop/a');
    expect((await lab.host('web-2').exec(['ls', '/srv/shop', '/etc/shop'])).code).to.not.equal(0);
    expect(existsSync('/etc/shop/a')).to.equal(false);
    expect(readFileSync(lab.host('web-1').file('/srv/shop/a'), 'utf8')).to.equal('one\n');
    expect(await lab.host('web-2').ok('hostname')).to.equal('web-2\n');
    expect(await lab.host('web-2').ok('ps', '-o', 'pid=,args=', '-p', '1')).to.match(/^ *1 .*web-2\/init/);
  });

  it('L1 a link can be cut one way: what is sent the other way still arrives', async () => {
    await lab.cut('web-1', 'web-2', { oneWay: true });
    expect(await reaches('web-1', 'web-2')).to.equal(false);
    expect(await reaches('web-1', 'mon-1')).to.equal(true);
    const heardBefore = await received('web-1');
    await lab.host('web-2').exec([...PING, lab.host('web-1').address]);
    expect(await received('web-1')).to.be.greaterThan(heardBefore);
    await lab.heal('web-1', 'web-2');
    expect(await reaches('web-2', 'web-1')).to.equal(true);
  });

  it('L1 a link can be cut both ways, and a host from everybody', async () => {
    await lab.cut('web-1', 'web-2');
    expect(await reaches('web-1', 'web-2')).to.equal(false);
    expect(await reaches('web-2', 'mon-1')).to.equal(true);
    await lab.cut('mon-1', 'all');
    expect(await reaches('web-2', 'mon-1')).to.equal(false);
    await lab.heal('mon-1', 'all');
    await lab.heal('web-1', 'web-2');
    expect(await reaches('web-2', 'mon-1')).to.equal(true);
    expect(await reaches('web-1', 'web-2')).to.equal(true);
  });

  it('a delayed host answers later by twice the delay, can still be cut, and is quick again afterwards', async () => {
    await lab.delay('api-1', 60);
    expect(await roundTrip('db-1', 'api-1')).to.be.within(120, 1000);
    await lab.cut('db-1', 'api-1');
    expect(await reaches('db-1', 'api-1')).to.equal(false);
    expect(await reaches('mon-1', 'api-1')).to.equal(true);
    await lab.heal('db-1', 'api-1');
    await lab.delay('api-1', 0);
    expect(await roundTrip('db-1', 'api-1')).to.be.lessThan(60);
  });

  it('a lossy host loses a share', async () => {
    await lab.drop('api-1', 50);
    const said = (await lab.host('db-1').exec(['ping', '-n', '-c', '60', '-i', '0.01', '-W', '1', 'api-1'])).stdout;
    expect(Number(/([\d.]+)% packet loss/.exec(said)?.[1])).to.be.within(40, 99);
    await lab.drop('api-1', 0);
    expect(await reaches('db-1', 'api-1')).to.equal(true);
  });

  it('a paused host does nothing, not even in a namespace within it, and goes on where it was', async () => {
    const host = lab.host('db-1');
    const ticking = 'while :; do echo tick >>/tmp/ticks; sleep 0.05; done';
    await host.ok('sh', '-c', `setsid unshare --pid --fork sh -c '${ticking}' >/dev/null 2>&1 &`);
    const ticks = (): number =>
      existsSync(host.file('/tmp/ticks')) ? readFileSync(host.file('/tmp/ticks')).length : 0;
    while (ticks() === 0) await sleep(20);
    await host.pause();
    const stopped = ticks();
    await sleep(400);
    expect(ticks()).to.equal(stopped);
    expect(await reaches('mon-1', 'db-1'), 'its kernel answers').to.equal(true);
    host.resume();
    while (ticks() === stopped) await sleep(20);
  });

  it('the kernel of a paused host keeps its promises: an address and a port that were lent run out', async () => {
    const host = lab.host('api-1');
    const lent = '10.77.0.101';
    const answers = async (): Promise<boolean> =>
      (await lab.host('mon-1').exec(['ping', '-c', '1', '-W', '1', lent])).code === 0;
    const connects = async (): Promise<boolean> =>
      (await lab.host('mon-1').exec(['timeout', '1', 'bash', '-c', `: </dev/tcp/${host.address}/4100`])).code === 0;
    const rules = `table inet lent {
      set open { type inet_service; flags timeout; }
      chain input { type filter hook input priority 0; tcp dport 4100 tcp dport != @open drop; }
    }
    add element inet lent open { 4100 timeout 3s }`;
    await host.ok(
      'sh',
      '-c',
      `setsid ${process.execPath} -e "require('net').createServer().listen(4100)" >/dev/null 2>&1 &`,
    );
    await eventually('the port is open', async () => {
      await host.ok('sh', '-c', 'nft add table inet lent; nft delete table inet lent');
      expect(await host.exec(['nft', '-f', '-'], rules)).to.include({ code: 0 });
      return (await connects()) ? undefined : 'not yet';
    });
    await host.ok('ip', 'addr', 'add', `${lent}/24`, 'dev', 'eth0', 'valid_lft', '3', 'preferred_lft', '3');
    await host.exec(['nft', 'add', 'element', 'inet', 'lent', 'open', '{ 4100 timeout 3s }']);
    expect(await answers()).to.equal(true);
    await host.pause();
    await eventually('the address is gone', async () => ((await answers()) ? 'it answers' : undefined), 10_000);
    await eventually('the port is shut', async () => ((await connects()) ? 'it lets in' : undefined), 10_000);
    host.resume();
    expect(await host.ok('ip', 'addr', 'show', 'eth0')).to.not.include(lent);
    await host.ok('nft', 'delete', 'table', 'inet', 'lent');
  });

  it('L2 killing a host ends everything in it, and nothing is said to anybody', async () => {
    const host = lab.host('db-1');
    await host.ok(
      'sh',
      '-c',
      'setsid sleep 4242 >/dev/null 2>&1 & setsid unshare --pid --fork sleep 4242 >/dev/null 2>&1 &',
    );
    // A connection that its other end holds: no goodbye may reach it.
    const server = "require('net').createServer(() => {}).listen(4000)";
    await host.ok('sh', '-c', `setsid ${process.execPath} -e "${server}" >/dev/null 2>&1 &`);
    await sleep(500);
    const client = `const s=require('net').connect(4000,'db-1',()=>console.log('connected'));s.on('close',()=>console.log('closed'));s.on('error',e=>console.log(e.code));setTimeout(()=>{console.log('silence');process.exit()},6000)`;
    const listening = lab.host('mon-1').exec([process.execPath, '-e', client]);
    await sleep(1500);
    await host.kill();
    expect(host.running).to.equal(false);
    const left = (await ok('ps', ['-eo', 'args'])).split('\n').filter((line) => line.startsWith('sleep 4242'));
    expect(left).to.deep.equal([]);
    expect(await reaches('mon-1', 'db-1')).to.equal(false);
    expect((await listening).stdout.trim().split('\n')).to.deep.equal(['connected', 'silence']);
    await host.start();
    expect(await reaches('mon-1', 'db-1')).to.equal(true);
    expect(readFileSync(host.file('/tmp/ticks')).length, 'its disk is still there').to.be.greaterThan(0);
  });

  it('L3 two labs stand side by side, and down leaves nothing of one, also when its maker was killed halfway', async () => {
    const two = join(lab.dir, '..', 'two');
    const module = new URL('lab.ts', import.meta.url).href;
    const script = `const { Lab } = await import(${JSON.stringify(module)}); await Lab.boot(${JSON.stringify(two)});`;
    const maker = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
    while (!existsSync(join(two, 'run', 'web-1.json'))) {
      if (maker.exitCode !== null) break;
      await sleep(5);
    }
    maker.kill('SIGKILL');
    const second = Lab.open(two);
    expect(await second.down()).to.include('wire');
    expect(await second.down()).to.deep.equal([]);
    expect(await ok('ip', ['netns', 'ls'])).to.not.include(second.layout.id);
    expect(await ok('ps', ['-eo', 'args'])).to.not.include(two);
    expect(await ok('cat', ['/proc/mounts'])).to.not.include(two);
    expect(await reaches('web-1', 'web-2'), 'the first lab does not notice').to.equal(true);
  });
});
