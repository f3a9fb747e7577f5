import { expect } from 'chai';
import type { LeaseRow } from '@holdfast/shared/failover/lease-row';
import { FAILOVER_TIMING } from '@holdfast/shared/failover/timing';
import { parsePlan } from '@holdfast/shared/recovery/plan';

import type { AppliedPlan } from '../contract.ts';
import { probeUrl, settingsOf, specFor } from './application-settings.ts';

function applied(detect: string): AppliedPlan {
  const { plan, findings } = parsePlan(`apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@example.org}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {web-1: {bind: 10.0.0.1}, web-2: {bind: 10.0.0.2}}}
sources: [files]
detect: ${detect}
steps: [{id: fence, type: fence}]
`);
  expect(findings).to.deep.equal([]);
  const hostIds = new Map([
    ['web-1', 'h1'],
    ['web-2', 'h2'],
    ['mon-1', 'h3'],
  ]);
  return { id: 'plan', domainId: 'd', name: 'shop', revision: 4, plan: plan!, findings: [], hostIds };
}

const automatic = applied(
  '{mode: automatic, suspectAfter: 1s, witnesses: {hosts: [mon-1], agree: 1, probe: "http://${primary.bind}:80/"}}',
);
const row: LeaseRow = {
  identity: '7/1',
  phase: 'open',
  primary: 'h2',
  standby: 'h1',
  epoch: 3,
  nextEpoch: 4,
  grantSeq: 0,
  attempt: 0,
  serial: 1,
  disarmed: 1,
  orderSerial: 0,
  confirmed: false,
  automatic: false,
  driver: 'r',
  term: 1,
  beat: 0,
};

describe('what a plan means for failover', () => {
  it('suspicion is never quicker than two renewals; each host is a site of its own', () => {
    const settings = settingsOf(automatic, 'r', FAILOVER_TIMING, false);
    expect(settings.timing.suspectAfterMs).to.equal(4000);
    expect(settings).to.include({ leases: true, agree: 1, holdoffMs: 3_600_000, powerOff: false });
    expect(settings.witnesses).to.deep.equal(['h3']);
    expect(settings.sites.get('h3')).to.not.equal(settings.sites.get('h1'));
  });

  it('there are no leases in the other modes, nor on a catalog that may forget', () => {
    expect(settingsOf(automatic, 'r', FAILOVER_TIMING, true).leases).to.equal(false);
    expect(settingsOf(applied('{mode: approve}'), 'r', FAILOVER_TIMING, false).leases).to.equal(false);
  });

  it('a host is told of no leases only once the row is disarmed', () => {
    const manual = applied('{mode: manual}');
    expect(specFor(manual, 'h1', FAILOVER_TIMING, row, '7/1', []).mode).to.equal('manual');
    expect(specFor(manual, 'h1', FAILOVER_TIMING, { ...row, disarmed: 0 }, '7/1', []).mode).to.equal('automatic');
  });

  it('the epoch of another catalog is none', () => {
    expect(specFor(automatic, 'h1', FAILOVER_TIMING, row, '7/1', [])).to.include({
      epoch: 3,
      catalog: '7/1',
      revision: 4,
    });
    expect(specFor(automatic, 'h1', FAILOVER_TIMING, row, '7/2', [])).to.include({ epoch: 0, catalog: '7/2' });
  });

  it('the witnesses ask the present primary', () => {
    expect(probeUrl(automatic, 'h1')).to.equal('http://10.0.0.1:80/');
    expect(probeUrl(automatic, 'h2')).to.equal('http://10.0.0.2:80/');
  });
});
