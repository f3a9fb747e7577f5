import { expect } from 'chai';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import {
  joinNamespaces,
  noNamespaces,
  openNamespace,
  type NetworkNamespace,
} from '../failover/testing/network-namespace.ts';
import { stepHost, type StepHost } from './testing/step-host.ts';
import { parseAddress } from './traffic-address.ts';

const missing = noNamespaces();
const IP = '10.77.0.100';
const switchTo = (dev = 'eth0', ip = `${IP}/24`): HostStepSpec & { type: 'traffic' } => ({
  id: 'switch',
  type: 'traffic',
  host: 'standby',
  in: ['unplanned'],
  needs: [],
  ahead: false,
  critical: true,
  via: [{ address: { ip, dev } }],
});

describe('service addresses', () => {
  it('are IPv4 or IPv6, alone or with a prefix, and nothing else', () => {
    expect(parseAddress('10.0.0.1/24')).to.include({ ip: '10.0.0.1', prefixed: '10.0.0.1/24' });
    expect(parseAddress('FD00:0::1').prefixed).to.equal('fd00::1/128');
    for (const wrong of ['10.0.0.1/33', 'fd00::1%eth0/64', 'dev']) {
      expectError(() => parseAddress(wrong), 'INVALID_ARGUMENT');
    }
  });
});

(missing === undefined ? describe : describe.skip)(
  `moving a service address (${missing ?? 'between two namespaces'})`,
  function () {
    this.timeout(30_000);
    let own: NetworkNamespace;
    let other: NetworkNamespace;
    let host: StepHost;

    beforeEach(async () => {
      own = await openNamespace();
      other = await openNamespace();
      joinNamespaces(
        { namespace: own, device: 'eth0', address: '10.77.0.12/24' },
        { namespace: other, device: 'eth0', address: '10.77.0.11/24' },
      );
      host = stepHost(scratchDirectory());
    });
    afterEach(() => {
      own.close();
      other.close();
      removeScratchDirectories();
    });
    const inside = (work: () => Promise<void>) => (): Promise<void> => own.within(work);
    const addresses = (): string => own.run('ip', '-o', 'address', 'show', 'dev', 'eth0');
    const neighbours = (): string => other.run('ip', 'neighbour', 'show', IP);

    it(
      'adds it and tells the neighbours, who hear of it without asking; taken back, it is gone',
      inside(async () => {
        other.run('ip', 'neighbour', 'add', IP, 'lladdr', '02:00:00:00:00:99', 'dev', 'eth0', 'nud', 'stale');
        expect(await host.do('probe', switchTo())).to.include({ state: 'not-done' });
        const applied = await host.do('apply', switchTo());
        expect(applied, applied.message).to.include({ state: 'ok' });
        expect(addresses()).to.contain(`${IP}/24`);
        const hardware = / link\/ether ([0-9a-f:]+)/.exec(own.run('ip', 'link', 'show', 'eth0'))?.[1] ?? 'none';
        expect(neighbours()).to.contain(hardware);
        expect(await host.do('verify', switchTo())).to.include({ state: 'ok' });
        expect(await host.do('undo', switchTo())).to.include({ state: 'ok' });
        expect(addresses()).not.to.contain(IP);
        expect(await host.do('verify', switchTo())).to.include({ state: 'failed' });
      }),
    );

    it(
      'leaves one that is there as it is, also its lifetime, and takes back nothing that it did not add',
      inside(async () => {
        own.run('ip', 'address', 'add', `${IP}/24`, 'dev', 'eth0', 'valid_lft', '500', 'preferred_lft', '500');
        expect(await host.do('apply', switchTo())).to.include({ state: 'ok' });
        const [, left = '0'] = /valid_lft (\d+)sec/.exec(addresses()) ?? [];
        expect(Number(left)).to.be.within(400, 500);
        expect(await host.do('undo', switchTo())).to.include({ state: 'ok' });
        expect(addresses()).to.contain(IP);
      }),
    );

    it(
      'waits for one that follows the lease, and adds none itself',
      inside(async () => {
        const given = { resolved: { leased: true } };
        const applied = host.do('apply', switchTo(), given);
        own.run('ip', 'address', 'add', `${IP}/24`, 'dev', 'eth0', 'valid_lft', '500', 'preferred_lft', '500');
        expect(await applied).to.include({ state: 'ok' });
        expect(await host.do('undo', switchTo(), given)).to.include({ state: 'ok' });
        expect(addresses()).to.contain(IP);
        own.run('ip', 'address', 'del', `${IP}/24`, 'dev', 'eth0');
        const late = await host.do('apply', switchTo(), { ...given, attempt: 2, timeoutMs: 500 });
        expect(late).to.include({ state: 'failed' });
        expect(addresses()).not.to.contain(IP);
      }),
    );

    it(
      'a precheck tells that another host has it; a switch does not take it from one that still answers',
      inside(async () => {
        other.run('ip', 'address', 'add', `${IP}/24`, 'dev', 'eth0');
        const looked = await host.do('precheck', switchTo());
        expect(looked).to.include({ state: 'ok' });
        expect(looked.message).to.contain('another host');
        const refused = await host.do('apply', switchTo());
        expect(refused).to.include({ state: 'failed' });
        expect(refused.remedy).to.contain('arping');
        expect(addresses()).not.to.contain(IP);
        other.run('ip', 'address', 'del', `${IP}/24`, 'dev', 'eth0');
        expect(await host.do('apply', switchTo(), { attempt: 2 })).to.include({ state: 'ok' });
      }),
    );

    it(
      'tells of a device that is not there, or is down',
      inside(async () => {
        expect((await host.do('precheck', switchTo('eth7'))).message).to.contain('no network device eth7');
        own.run('ip', 'link', 'set', 'eth0', 'down');
        const down = await host.do('precheck', switchTo());
        expect(down).to.include({ state: 'failed', remedy: 'On the host: ip link set eth0 up' });
      }),
    );

    describe('IPv6', () => {
      const IP6 = 'fd00:77::100';
      const step = switchTo('eth0', 'FD00:77:0::100/64');
      const neighbours6 = (): string => other.run('ip', '-6', 'neighbour', 'show', IP6);
      const hardware = (): string =>
        / link\/ether ([0-9a-f:]+)/.exec(own.run('ip', 'link', 'show', 'eth0'))?.[1] ?? 'none';

      beforeEach(() => {
        own.run('ip', 'address', 'add', 'fd00:77::12/64', 'dev', 'eth0', 'nodad');
        other.run('ip', 'address', 'add', 'fd00:77::11/64', 'dev', 'eth0', 'nodad');
      });

      it(
        'adds it for use at once, and tells the neighbours, whose entry moves though it was sure of the old host',
        inside(async () => {
          other.run('ip', 'neighbour', 'add', IP6, 'lladdr', '02:00:00:00:00:99', 'dev', 'eth0', 'nud', 'reachable');
          expect(await host.do('probe', step)).to.include({ state: 'not-done' });
          const applied = await host.do('apply', step);
          expect(applied, applied.message).to.include({ state: 'ok' });
          expect(neighbours6()).to.contain(hardware());
          expect(addresses()).to.match(/fd00:77::100\/64.* deprecated/);
          expect(addresses()).not.to.match(/fd00:77::100.* tentative/);
          expect(await host.do('verify', step)).to.include({ state: 'ok' });
          // What the host itself asks for does not come from the address that moves.
          expect(own.run('ip', '-6', 'route', 'get', 'fd00:77::11')).to.contain('src fd00:77::12');
          expect(await host.do('undo', step)).to.include({ state: 'ok' });
          expect(addresses()).not.to.contain(IP6);
          expect(await host.do('probe', step)).to.include({ state: 'not-done' });
        }),
      );

      it(
        'does not take it from a host that still answers; one that the kernel refused is told of',
        inside(async () => {
          other.run('ip', 'address', 'add', `${IP6}/64`, 'dev', 'eth0', 'nodad');
          expect((await host.do('precheck', step)).message).to.contain('another host');
          const refused = await host.do('apply', step);
          expect(refused).to.include({ state: 'failed' });
          expect(refused.remedy).to.contain('neighbour show');
          expect(addresses()).not.to.contain(IP6);
          // Somebody adds it by hand: the kernel finds the other host, and never uses it.
          own.run('ip', 'address', 'add', `${IP6}/64`, 'dev', 'eth0');
          const failed = await host.do('apply', step, { attempt: 2 });
          expect(failed).to.include({ state: 'failed' });
          expect(failed.message).to.contain('another host had it');
          expect(await host.do('verify', step)).to.include({ state: 'failed' });
          other.run('ip', 'address', 'del', `${IP6}/64`, 'dev', 'eth0');
          own.run('ip', 'address', 'del', `${IP6}/64`, 'dev', 'eth0');
          expect(await host.do('apply', step, { attempt: 3 })).to.include({ state: 'ok' });
        }),
      );

      it(
        'waits for one that is tentative, which serves nobody yet',
        inside(async () => {
          own.run('ip', 'address', 'add', `${IP6}/64`, 'dev', 'eth0');
          const applied = await host.do('apply', step);
          expect(applied, applied.message).to.include({ state: 'ok' });
          expect(applied.message).to.contain('already');
          expect(addresses()).not.to.match(/fd00:77::100.* tentative/);
        }),
      );

      it(
        'tells of a device on which IPv6 is switched off',
        inside(async () => {
          own.run('sysctl', '-qw', 'net.ipv6.conf.eth0.disable_ipv6=1');
          const looked = await host.do('precheck', step);
          expect(looked).to.include({
            state: 'failed',
            remedy: 'On the host: sysctl net.ipv6.conf.eth0.disable_ipv6=0',
          });
        }),
      );
    });
  },
);
