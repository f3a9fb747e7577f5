import { expect } from 'chai';
import type { FailoverMessage } from '../failover/messages.ts';
import { ApplicationSpec as WireSpec, FailoverMessage as WireMessage } from './gen/holdfast/v1/failover.ts';
import {
  applicationFromWire,
  applicationToWire,
  failoverFromWire,
  failoverToWire,
  type ApplicationSpec,
} from './failover-wire.ts';

const report = { host: 'h1', highestEpoch: 3, servingEpoch: 2, serial: 1, catalog: '7/1' };
const numbers = { catalog: '7/1', term: 4, epoch: 5, attempt: 6 };
const messages: FailoverMessage[] = [
  { kind: 'renew', host: 'h1', epoch: 2, slot: 9, sees: ['controller'], ended: 1, report },
  { kind: 'grant', granter: 'controller', host: 'h1', epoch: 2, slot: 9 },
  { kind: 'grant', granter: 'h2', host: 'h1', epoch: 2, slot: 9, standing: 4 },
  { kind: 'grant', granter: 'h2', host: 'h1', epoch: 2, slot: 9, ends: 4 },
  { kind: 'stop', epoch: 3 },
  { kind: 'stopped', host: 'h1', epoch: 3 },
  { kind: 'status', report: { ...report, trouble: 'no nft' }, seesPrimary: true, withdrawn: false },
  { kind: 'beat' },
  { kind: 'inquire', catalog: '7/2' },
  { kind: 'withdraw', ...numbers },
  { kind: 'resume', ...numbers },
  { kind: 'promote', ...numbers, standing: 8, fenceConfirmed: true },
  { kind: 'promoted', host: 'h2', epoch: 3 },
  { kind: 'refused', attempt: 6 },
  {
    kind: 'probe',
    round: 1001,
    host: 'h1',
    url: 'http://10.0.0.1/',
    peerAddresses: ['10.0.0.1:7402', '[fe80::1]:1'],
    withinMs: 1500,
  },
  { kind: 'probe-answer', witness: 'h3', round: 1001, answered: false, sawJustNow: true },
  { kind: 'boot', host: 'h1' },
  { kind: 'boot-answer', highestEpoch: 3 },
  { kind: 'fence', host: 'web-1', attempt: 2 },
  { kind: 'fence-result', attempt: 2, confirmed: true },
];

const spec: ApplicationSpec = {
  id: '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb10',
  plan: 'shop',
  revision: 3,
  mode: 'automatic',
  primaryHost: 'h1',
  standbyHost: 'h2',
  epoch: 1,
  catalog: '7/1',
  peerAddresses: ['10.0.0.2:7402'],
  addresses: [{ ip: '10.77.0.100/24', device: 'eth0' }],
  ports: [80, 443],
  units: ['shop'],
  services: Buffer.from('{}'),
  renewMs: 2000,
  leaseMs: 8000,
  marginMs: 2000,
  suspectAfterMs: 6000,
  outOfReachMs: 60_000,
  bootAskMs: 60_000,
  fenceScript: '',
};

const through = (message: WireMessage): WireMessage => WireMessage.decode(WireMessage.encode(message).finish());

describe('failover on the wire', () => {
  it('brings every message over as it was', () => {
    for (const message of messages) {
      const { application, message: back } = failoverFromWire(through(failoverToWire('app', message)));
      expect(application).to.equal('app');
      expect(back).to.deep.equal(message);
    }
  });

  it('brings an application over as it was', () => {
    const back = applicationFromWire(WireSpec.decode(WireSpec.encode(applicationToWire(spec)).finish()));
    expect({ ...back, services: Buffer.from(back.services) }).to.deep.equal(spec);
  });

  it('refuses what no correct peer says', () => {
    const huge = 2n ** 60n;
    const bad: WireMessage[] = [
      { application: 'app', kind: undefined },
      { application: '', kind: { $case: 'stop', value: { epoch: 1n } } },
      { application: 'a'.repeat(200), kind: { $case: 'stop', value: { epoch: 1n } } },
      { application: 'app', kind: { $case: 'stop', value: { epoch: huge } } },
      { application: 'app', kind: { $case: 'withdraw', value: { numbers: undefined } } },
      {
        application: 'app',
        kind: { $case: 'status', value: { report: undefined, seesPrimary: true, withdrawn: false } },
      },
      {
        application: 'app',
        kind: { $case: 'probe', value: { round: 1n, host: 'h', url: '', peerAddresses: ['x'], withinMs: 1n } },
      },
    ];
    for (const message of bad)
      expect(() => failoverFromWire(message))
        .to.throw()
        .with.property('code', 'PROTOCOL_VIOLATION');
  });

  it('refuses an application that would lead out of its directory, its network or its bounds', () => {
    const wire = applicationToWire(spec);
    const bad: Partial<WireSpec>[] = [
      { id: '../etc' },
      { mode: 'often' },
      { addresses: [{ ip: '10.0.0.1', device: 'eth0' }] },
      { addresses: [{ ip: '10.0.0.1/33', device: 'eth0' }] },
      { addresses: [{ ip: '10.0.0.1/24', device: '-f' }] },
      { ports: [0] },
      { leaseMs: 0n },
      { fenceScript: 'off.sh' },
    ];
    for (const change of bad) {
      expect(
        () => applicationFromWire({ ...wire, ...change }),
        JSON.stringify(change, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
      )
        .to.throw()
        .with.property('code', 'PROTOCOL_VIOLATION');
    }
  });
});
