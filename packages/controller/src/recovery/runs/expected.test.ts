import type { LeaseRow } from '@holdfast/shared/failover/lease-row';
import { parsePlan } from '@holdfast/shared/recovery/plan';
import { expect } from 'chai';

import type { ApplicationLook } from '../contract.ts';
import { isExpected } from './expected.ts';

const NOW = Date.UTC(2026, 10, 23, 3);
const row: LeaseRow = {
  identity: 'x',
  phase: 'open',
  primary: 'web-1',
  standby: 'web-2',
  epoch: 1,
  nextEpoch: 2,
  grantSeq: 7,
  attempt: 0,
  serial: 1,
  disarmed: 0,
  orderSerial: 0,
  confirmed: false,
  automatic: false,
  driver: 'one',
  term: 1,
  beat: 3,
};
const ago = (ms: number): Date => new Date(NOW - ms);
const look = (fields: Partial<ApplicationLook>, more: Partial<LeaseRow> = {}): ApplicationLook => {
  const nothing = {
    suspected: false,
    suspectedAt: undefined,
    declaredDeadAt: undefined,
    splitBrain: false,
    troubles: [],
    unreported: [],
  };
  const usual = { lastSignOfLifeAt: ago(900), verdict: 'alive', driving: true } as const;
  return { ...nothing, ...usual, ...fields, row: { ...row, ...more } };
};
const plan = (mode: string): Parameters<typeof isExpected>[0] => {
  const parsed =
    parsePlan(`{apiVersion: holdfast/v1, kind: RecoveryPlan, metadata: {name: a, owner: b}, objectives: {rto: 1m, rpo: 1m},
    placement: {hosts: [web-1, web-2]}, sources: [x], detect: {mode: ${mode}, suspectAfter: 30s}, steps: [{id: f, type: fence}]}`);
  if (parsed.plan === undefined) throw new Error(JSON.stringify(parsed.findings));
  return parsed.plan;
};

describe('which failovers are expected', () => {
  const of = (mode: string, ...asked: Parameters<typeof look>): boolean => isExpected(plan(mode), look(...asked), NOW);

  it('those whose primary is silent or suspected and that come by themselves, or ask people, at whatever replica', () => {
    for (const mode of ['automatic', 'approve']) {
      expect(of(mode, { lastSignOfLifeAt: ago(4_000) }), mode).to.equal(true);
      expect(of(mode, { lastSignOfLifeAt: ago(80_000), driving: false }), mode).to.equal(true);
      expect(of(mode, { lastSignOfLifeAt: undefined, suspectedAt: ago(100) }), mode).to.equal(true);
      expect(of(mode, { lastSignOfLifeAt: ago(40_000), suspectedAt: ago(30_000), verdict: 'dead' }), mode).to.equal(
        true,
      );
    }
  });

  it('E1 not one that was just heard, nor where the controller looks cut off, nor where a person alone promotes', () => {
    for (const mode of ['automatic', 'approve']) {
      expect(of(mode, {}), mode).to.equal(false);
      expect(of(mode, { lastSignOfLifeAt: undefined }), mode).to.equal(false);
      expect(of(mode, { suspectedAt: ago(9_000), verdict: 'isolated' }), mode).to.equal(false);
    }
    expect(of('manual', { suspectedAt: ago(9_000), verdict: 'dead' })).to.equal(false);
    expect(of('automatic', { suspectedAt: ago(9_000), verdict: 'dead' }, { disarmed: 4 })).to.equal(false);
  });

  it('a silence of which nothing came within a minute of the suspicion is no failover; one that is ordered is', () => {
    expect(of('approve', { suspectedAt: ago(60_000), verdict: 'dead' })).to.equal(false);
    expect(of('automatic', { lastSignOfLifeAt: ago(90_000), driving: false })).to.equal(false);
    for (const phase of ['withdrawn', 'ordered'] as const) {
      expect(of('automatic', { suspectedAt: ago(600_000), verdict: 'dead' }, { phase })).to.equal(true);
    }
  });
});
