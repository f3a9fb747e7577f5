import { expect } from 'chai';
import { connect, createServer, type Server } from 'node:net';
import { systemClock, sleep } from '@holdfast/shared/runtime/clock';
import { addressAnswers } from '../../os/neighbours.ts';
import { openKernelGate, probeKernelGate, type KernelGate } from './kernel-gate.ts';
import { dropAddresses, holdAddresses } from './service-addresses.ts';
import { joinNamespaces, noNamespaces, openNamespace, type NetworkNamespace } from './testing/network-namespace.ts';

const APPLICATION = '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb10';
const missing = noNamespaces();

/** Whether a connection is answered within 300 ms. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(300, () => end(false));
    socket.once('data', () => end(true));
    socket.once('error', () => end(false));
  });
}

(missing === undefined ? describe : describe.skip)(
  `the gate in the kernel (${missing ?? 'in a namespace'})`,
  function () {
    this.timeout(30_000);
    let namespace: NetworkNamespace;
    let server: Server;
    let gate: KernelGate;
    let port = 0;

    beforeEach(async () => {
      namespace = await openNamespace();
      await namespace.within(async () => {
        server = createServer((socket) => socket.on('error', () => undefined).write('here'));
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      });
      const address = server.address();
      port = typeof address === 'object' && address !== null ? address.port : 0;
      gate = openKernelGate(APPLICATION, { ports: [port, 5432], addresses: [] });
    });
    afterEach(() => {
      server.close();
      namespace.close();
    });
    const inside = (work: () => Promise<void>) => (): Promise<void> => namespace.within(work);

    it(
      'KG1 KG4 a new table lets everything pass; closed, a staged set lets nothing pass until it is switched to',
      inside(async () => {
        await probeKernelGate();
        expect(await gate.exists()).to.equal(false);
        await gate.stage(1, 60_000);
        expect(await gate.exists()).to.equal(true);
        expect(await answers(port)).to.equal(true);
        await gate.close();
        expect(await answers(port)).to.equal(false);
        await gate.stage(2, 60_000);
        expect(await answers(port)).to.equal(false);
        await gate.open(2);
        expect(await answers(port)).to.equal(true);
        await gate.close();
        await gate.open('standing');
        expect(await answers(port)).to.equal(true);
        await gate.remove();
        expect(await gate.exists()).to.equal(false);
      }),
    );

    it(
      'KG2 KG3 a slot ends at its own timeout, counted from before it was switched to; the next one goes on without a gap',
      inside(async () => {
        await gate.stage(7, 1500);
        await gate.open(7);
        await gate.stage(8, 3000);
        await gate.open(8);
        await sleep(systemClock, 1600);
        expect(await answers(port)).to.equal(true);
        await sleep(systemClock, 1600);
        expect(await answers(port)).to.equal(false);
        // Switching to what ran out opens nothing.
        await gate.open(7);
        expect(await answers(port)).to.equal(false);
      }),
    );

    it(
      'ends what is under way as well, both ways',
      inside(async () => {
        await gate.stage(1, 60_000);
        await gate.open(1);
        const socket = connect({ host: '127.0.0.1', port });
        let heard = '';
        socket.on('data', (data) => (heard += data.toString())).on('error', () => undefined);
        const served = await new Promise<import('node:net').Socket>((resolve) => server.once('connection', resolve));
        while (heard.length === 0) await sleep(systemClock, 10);
        await gate.close();
        served.write('late');
        await sleep(systemClock, 300);
        expect(heard).to.equal('here');
        socket.destroy();
        served.destroy();
      }),
    );

    it(
      'goes on where an agent before left it, keeps a bounded number of sets, and mends what another program flushed',
      inside(async () => {
        for (let slot = 1; slot <= 30; slot++) await gate.stage(slot, 60_000);
        await gate.open(30);
        const next = openKernelGate(APPLICATION, { ports: [port], addresses: [] });
        for (let slot = 101; slot <= 110; slot++) await next.stage(slot, 60_000);
        expect(await answers(port)).to.equal(true);
        const sets = namespace.run('nft', 'list', 'sets').match(/set slot_/g) ?? [];
        expect(sets.length).to.be.lessThan(30);
        namespace.run('nft', 'flush', 'ruleset');
        await next.stage(120, 60_000).catch(() => undefined);
        await next.stage(121, 500);
        await next.open(121);
        expect(await answers(port)).to.equal(true);
        await sleep(systemClock, 700);
        expect(await answers(port)).to.equal(false);
      }),
    );

    it(
      'a service address has the lease’s lifetime, is told to the network and answers there, and is dropped',
      inside(async () => {
        const other = await openNamespace();
        joinNamespaces(
          { namespace, device: 'eth0', address: '10.99.0.1/24' },
          { namespace: other, device: 'eth0', address: '10.99.0.2/24' },
        );
        for (const [one, ip] of [
          [namespace, 'fd00:99::1/64'],
          [other, 'fd00:99::2/64'],
        ] as const) {
          one.run('ip', 'address', 'add', ip, 'dev', 'eth0', 'nodad');
        }
        const show = (): string => namespace.run('ip', '-o', 'address', 'show', 'dev', 'eth0');
        // As a plan may write them, which is not how the kernel does.
        const addresses = [
          { ip: '10.99.0.100/24', device: 'eth0' },
          { ip: 'FD00:0099:0::0100/64', device: 'eth0' },
        ];
        const neighbour = ['fd00:99::100', 'lladdr', '02:00:00:00:00:99', 'dev', 'eth0', 'nud', 'reachable'];
        other.run('ip', 'neighbour', 'add', ...neighbour);
        await holdAddresses(addresses, 5000);
        expect(show()).to.match(/10\.99\.0\.100.*valid_lft [45]sec/);
        expect(show()).to.match(/fd00:99::100\/64.*valid_lft [45]sec/);
        expect(show()).to.not.match(/fd00:99::100.* tentative/);
        expect(other.run('ip', 'neighbour', 'show', 'fd00:99::100')).to.not.contain('02:00:00:00:00:99');
        await other.within(async () => {
          for (const ip of ['10.99.0.100', 'fd00:99::100']) {
            expect(await addressAnswers('eth0', ip, 10_000, systemClock), ip).to.equal(true);
          }
          for (const ip of ['10.99.0.77', 'fd00:99::77']) {
            expect(await addressAnswers('eth0', ip, 300, systemClock), ip).to.equal(false);
          }
        });
        await holdAddresses(addresses, Infinity);
        expect(show()).to.match(/10\.99\.0\.100.*forever/);
        expect(show()).to.match(/fd00:99::100.*valid_lft forever preferred_lft 0sec/);
        // The way to the host's own network is not the address's, and does not end with it.
        await holdAddresses(addresses, 5000);
        expect(namespace.run('ip', '-6', 'route', 'show', 'fd00:99::/64', 'dev', 'eth0')).to.match(
          /^fd00:99::\/64 (?!.*expires)/,
        );
        await dropAddresses(addresses);
        expect(show()).to.not.match(/10\.99\.0\.100|fd00:99::100/);
        await dropAddresses(addresses);
        // What the kernel refused while another host had it is put right; a device that is not there does not keep the others away.
        other.run('ip', 'address', 'add', 'fd00:99::100/64', 'dev', 'eth0', 'nodad');
        namespace.run('ip', 'address', 'add', 'fd00:99::100/64', 'dev', 'eth0');
        for (let times = 0; times < 1000 && !show().includes('dadfailed'); times++) await sleep(systemClock, 20);
        other.run('ip', 'address', 'del', 'fd00:99::100/64', 'dev', 'eth0');
        const error = await holdAddresses([{ ip: '10.99.0.101/24', device: 'eth7' }, ...addresses], 5000).catch(
          (failure: unknown) => failure,
        );
        expect(String(error)).to.contain('eth7');
        expect(show()).to.match(/fd00:99::100\/64.*valid_lft [45]sec/);
        expect(show()).to.not.contain('dadfailed');
        other.close();
      }),
    );
  },
);
