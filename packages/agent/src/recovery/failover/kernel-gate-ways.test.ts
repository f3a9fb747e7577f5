// KG5: the ways around the gate, each tried from another host, and from this one.

import { expect } from 'chai';
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { sleep, systemClock } from '@holdfast/shared/runtime/clock';
import { openKernelGate, type KernelGate } from './kernel-gate.ts';
import { joinNamespaces, noNamespaces, openNamespace, type NetworkNamespace } from './testing/network-namespace.ts';

const missing = noNamespaces();
const APPLICATION = '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb11';
const PORT = 8080;
/** Of the process, behind a port that NAT hands on. */
const HIDDEN = 9090;
const SERVICE = ['10.99.0.100', 'fd00:99::100'];
const OWN = ['10.99.0.1', 'fd00:99::1'];
const SILENT_MS = 400;

/** Says "here" to everybody, by TCP and UDP, IPv4 and IPv6. */
const SERVER = (port: number): string => `
require('node:net').createServer((socket) => {
  socket.on('error', () => undefined).on('data', (data) => socket.write(data)).write('here');
}).listen(${port}, '::', () => {
  const udp = require('node:dgram').createSocket('udp6');
  udp.on('message', (data, from) => udp.send('here', from.port, from.address));
  udp.bind(${port}, '::', () => process.stdout.write('ready'));
});`;

function serve(namespace: NetworkNamespace, port: number): Promise<ChildProcess> {
  const [program = '', ...words] = namespace.enter(process.execPath, '-e', SERVER(port));
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'], env: {} });
  return new Promise((resolve, reject) => {
    child.stdout.once('data', () => resolve(child));
    child.once('exit', () => reject(new Error('the server ended')));
  });
}

/** A connection that was greeted, or nothing for `withinMs`. */
function greeted(host: string, port: number, withinMs: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (found: Socket | undefined): void => {
      if (found === undefined) socket.destroy();
      resolve(found);
    };
    socket.setTimeout(withinMs, () => end(undefined));
    socket.once('data', () => end(socket));
    socket.on('error', () => end(undefined));
  });
}

async function answersTcp(host: string, port: number, withinMs: number): Promise<boolean> {
  const socket = await greeted(host, port, withinMs);
  socket?.destroy();
  return socket !== undefined;
}

function answersUdp(host: string, port: number, withinMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const end = (answered: boolean): void => {
      timer.cancel();
      socket.close();
      resolve(answered);
    };
    const timer = systemClock.after(withinMs, () => end(false), { background: false });
    socket.once('message', () => end(true));
    // A port that nobody has is told of; the gate says nothing.
    socket.on('error', () => undefined);
    socket.send('who', port, host);
  });
}

(missing === undefined ? describe : describe.skip)(
  `ways around the gate (${missing ?? 'between network namespaces'})`,
  function () {
    this.timeout(60_000);
    let host: NetworkNamespace;
    let client: NetworkNamespace;
    const servers: ChildProcess[] = [];
    let gate: KernelGate;

    beforeEach(async () => {
      host = await openNamespace();
      client = await openNamespace();
      joinNamespaces(
        { namespace: host, device: 'eth0', address: '10.99.0.1/24' },
        { namespace: client, device: 'eth0', address: '10.99.0.2/24' },
      );
      host.run('ip', 'address', 'add', 'fd00:99::1/64', 'dev', 'eth0', 'nodad');
      client.run('ip', 'address', 'add', 'fd00:99::2/64', 'dev', 'eth0', 'nodad');
      for (const [ip, length] of [
        [SERVICE[0], '24'],
        [SERVICE[1], '64'],
      ] as const) {
        host.run('ip', 'address', 'add', `${ip}/${length}`, 'dev', 'eth0', ...(length === '64' ? ['nodad'] : []));
      }
      const addresses = [
        { ip: `${SERVICE[0]}/24`, device: 'eth0' },
        { ip: `${SERVICE[1]}/64`, device: 'eth0' },
      ];
      gate = openKernelGate(APPLICATION, { ports: [PORT], addresses });
    });
    afterEach(async () => {
      for (const child of servers.splice(0)) {
        const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
        child.removeAllListeners('exit').once('exit', () => undefined);
        child.kill('SIGKILL');
        if (child.exitCode === null && child.signalCode === null) await Promise.race([ended, sleep(systemClock, 200)]);
      }
      host.close();
      client.close();
    });

    /** Each address, each transport, from the client; `expected` of all of them. */
    const fromOutside = async (expected: boolean, addresses = [...OWN, ...SERVICE]): Promise<void> => {
      const withinMs = expected ? 10_000 : SILENT_MS;
      await client.within(async () => {
        const all = await Promise.all(
          addresses.flatMap((address) => [
            answersTcp(address, PORT, withinMs).then((answered) => [`tcp ${address}`, answered] as const),
            answersUdp(address, PORT, withinMs).then((answered) => [`udp ${address}`, answered] as const),
          ]),
        );
        expect(all.filter(([, answered]) => answered !== expected)).to.deep.equal([]);
      });
    };
    const fromInside = async (expected: boolean, addresses: readonly string[]): Promise<void> => {
      await host.within(async () => {
        for (const address of addresses) {
          const answered = await answersTcp(address, PORT, expected ? 10_000 : SILENT_MS);
          expect(answered, `tcp ${address} from the host itself`).to.equal(expected);
        }
      });
    };
    const told = (work: () => Promise<void>): Promise<void> => host.within(work);
    const throughGate = async (check: (expected: boolean) => Promise<void>): Promise<void> => {
      await check(true);
      await told(() => gate.close());
      await check(false);
      await told(async () => {
        await gate.stage(1, 60_000);
        await gate.open(1);
      });
      await check(true);
      // It ends by itself, as when the agent is dead.
      await told(async () => {
        await gate.stage(2, 1);
        await gate.open(2);
      });
      await sleep(systemClock, 100);
      await check(false);
    };

    it('KG5 IPv6 is shut as IPv4 is, UDP as TCP, on every address of the host, and on the loopback', async () => {
      servers.push(await serve(host, PORT));
      await throughGate(async (expected) => {
        await fromOutside(expected);
        await fromInside(expected, ['127.0.0.1', '::1', ...SERVICE]);
      });
    });

    it('KG5 connections that stand are cut, over IPv6 as well', async () => {
      servers.push(await serve(host, PORT));
      const sockets = await client.within(() =>
        Promise.all([...OWN, ...SERVICE].map((address) => greeted(address, PORT, 10_000))),
      );
      const heard = new Map(sockets.map((socket) => [socket, '']));
      for (const socket of sockets) {
        socket?.setTimeout(0).on('data', (data: Buffer) => heard.set(socket, heard.get(socket) + data.toString()));
      }
      expect(sockets).to.not.include(undefined);
      await told(() => gate.close());
      for (const socket of sockets) socket?.write('order');
      await sleep(systemClock, SILENT_MS);
      expect([...heard.values()]).to.deep.equal(['', '', '', '']);
      for (const socket of sockets) socket?.destroy();
    });

    it('KG5 a port that NAT hands on to another one of this host', async () => {
      servers.push(await serve(host, HIDDEN));
      host.run('nft', NAT(`meta l4proto { tcp, udp } th dport ${PORT} fib daddr type local redirect to :${HIDDEN}`));
      await throughGate(async (expected) => {
        await fromOutside(expected);
        await fromInside(expected, ['127.0.0.1', ...SERVICE]);
      });
    });

    it('KG5 a port that NAT hands on to a container, also after the service address has left the host', async () => {
      const container = await openNamespace();
      joinNamespaces(
        { namespace: host, device: 'docker0', address: '172.30.0.1/24' },
        { namespace: container, device: 'eth0', address: '172.30.0.2/24' },
      );
      host.run('ip', 'address', 'add', 'fd00:30::1/64', 'dev', 'docker0', 'nodad');
      container.run('ip', 'address', 'add', 'fd00:30::2/64', 'dev', 'eth0', 'nodad');
      container.run('ip', 'route', 'add', 'default', 'via', '172.30.0.1');
      container.run('ip', '-6', 'route', 'add', 'default', 'via', 'fd00:30::1');
      host.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
      const ports = `meta l4proto { tcp, udp } th dport ${PORT} fib daddr type local`;
      host.run(
        'nft',
        NAT(
          `meta nfproto ipv4 ${ports} dnat ip to 172.30.0.2:${HIDDEN}`,
          `meta nfproto ipv6 ${ports} dnat ip6 to [fd00:30::2]:${HIDDEN}`,
        ),
      );
      servers.push(await serve(container, HIDDEN));
      try {
        await throughGate(async (expected) => {
          await fromOutside(expected);
          await fromInside(expected, SERVICE);
        });
        // What stands is handed on by conntrack, whoever has the address now.
        await told(() => gate.open('standing'));
        const socket = await client.within(() => greeted(SERVICE[1] ?? '', PORT, 10_000));
        const heard: string[] = [];
        socket?.setTimeout(0).on('data', (data: Buffer) => heard.push(data.toString()));
        socket?.write('a');
        for (let times = 0; times < 500 && heard.length === 0; times++) await sleep(systemClock, 20);
        expect(heard).to.deep.equal(['a']);
        const { mac } = linkOf(host);
        client.run('ip', 'neighbour', 'replace', SERVICE[1] ?? '', 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent');
        await told(() => gate.close());
        host.run('ip', 'address', 'del', `${SERVICE[1]}/64`, 'dev', 'eth0');
        socket?.write('b');
        await sleep(systemClock, SILENT_MS);
        expect(heard).to.deep.equal(['a']);
        socket?.destroy();
      } finally {
        container.close();
      }
    });

    it('what this host itself asks of the service, while another one has its address, is let through', async () => {
      for (const [ip, length] of [
        [SERVICE[0], '24'],
        [SERVICE[1], '64'],
      ] as const) {
        host.run('ip', 'address', 'del', `${ip}/${length}`, 'dev', 'eth0');
        client.run('ip', 'address', 'add', `${ip}/${length}`, 'dev', 'eth0', ...(length === '64' ? ['nodad'] : []));
      }
      servers.push(await serve(client, PORT));
      await told(() => gate.close());
      await fromInside(true, SERVICE);
    });

    it('what only passes through this host on its way to another one is let through, whatever its port', async () => {
      const far = await openNamespace();
      joinNamespaces(
        { namespace: host, device: 'far0', address: '172.31.0.1/24' },
        { namespace: far, device: 'eth0', address: '172.31.0.2/24' },
      );
      far.run('ip', 'route', 'add', 'default', 'via', '172.31.0.1');
      client.run('ip', 'route', 'add', 'default', 'via', '10.99.0.1');
      host.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
      servers.push(await serve(far, PORT));
      try {
        await told(() => gate.close());
        await fromOutside(true, ['172.31.0.2']);
      } finally {
        far.close();
      }
    });
  },
);

function NAT(...rules: readonly string[]): string {
  const chains = (['prerouting', 'output'] as const).map(
    (hook) =>
      `add chain inet published ${hook} { type nat hook ${hook} priority -100; }; ` +
      rules.map((rule) => `add rule inet published ${hook} ${rule}`).join('; '),
  );
  return ['add table inet published', ...chains].join('; ');
}

function linkOf(namespace: NetworkNamespace): { mac: string } {
  return { mac: / link\/ether ([0-9a-f:]+)/.exec(namespace.run('ip', 'link', 'show', 'dev', 'eth0'))?.[1] ?? '' };
}
