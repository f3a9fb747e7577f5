import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { expect } from 'chai';

import { SimulatedRun } from '../../testing/simulated-run.ts';
import { healthyAt, timesOf } from './run-times.ts';
import type { StepState } from './run-states.ts';
import type { StepRow } from './run-view.ts';

const { plan } = checkPlan(`
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
detect: {mode: manual, witnesses: {hosts: [mon-1, api-1], agree: 2, probe: "http://x/"}}
sources: [db]
steps:
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: db, type: restore.postgres, source: db, target: /db, needs: [fence]}
  - {id: db-ok, type: check.sql, source: db, query: select 1, needs: [db]}
  - {id: start, type: service.start, units: [shop], needs: [db-ok]}
  - {id: healthy, type: check.http, url: "http://x/", needs: [start]}
  - {id: switch, type: traffic, in: [unplanned, planned], via: [{address: {ip: 10.0.0.9/24, dev: eth0}}], needs: [start]}
  - {id: outside, type: check.http, in: [unplanned, planned], from: witnesses, url: "http://x/", needs: [switch]}
`);

/** Seconds at which each step was over; or the state in which it is, over at 0. Steps that are not named are not of the run. */
function rows(said: Readonly<Record<string, number | StepState>>): StepRow[] {
  return new SimulatedRun(plan!, 'unplanned').view.steps.flatMap((row): StepRow[] => {
    const at = said[row.id];
    if (at === undefined) return [];
    const isOver = typeof at === 'number';
    return [{ ...row, state: isOver ? 'ok' : at, finishedAt: isOver ? new Date(at * 1000) : null }];
  });
}

describe('the times of a run', () => {
  it('is healthy when the last check behind the last start is well, not when a database answers before', () => {
    expect(healthyAt(rows({ 'db-ok': 3, start: 'running' }))).to.equal(undefined);
    expect(healthyAt(rows({ 'db-ok': 3, start: 5 })), 'nobody looked').to.equal(undefined);
    expect(healthyAt(rows({ 'db-ok': 3, start: 5, healthy: 'pending' }))).to.equal(undefined);
    expect(healthyAt(rows({ 'db-ok': 3, start: 5, healthy: 7 }))).to.equal(7000);
    expect(healthyAt(rows({ start: 5, healthy: 7, switch: 9 })), 'looked at before traffic came').to.equal(undefined);
  });

  it('is healthy from outside, where somebody looks from there', () => {
    expect(healthyAt(rows({ start: 5, healthy: 7, switch: 9, outside: 'running' }))).to.equal(undefined);
    expect(healthyAt(rows({ start: 5, healthy: 12, switch: 9, outside: 11 }))).to.equal(11_000);
    expect(healthyAt(rows({ start: 5, healthy: 12, switch: 9, outside: 'skipped' })), 'nobody did').to.equal(12_000);
  });

  it('what was seen before a start that is tried again counts no more; what the watcher saw stays', () => {
    const times = { lastSignOfLife: 1, declaredDead: 2, started: 5000, healthy: 7000 };
    const run = { mode: 'unplanned', fromHost: 'web-1', times } as const;
    expect(timesOf(rows({ db: 3, start: 'running', healthy: 7 }), run)).to.deep.equal({
      lastSignOfLife: 1,
      declaredDead: 2,
      restored: 3000,
    });
    expect(timesOf(rows({ fence: 2, db: 3, start: 8, healthy: 9, switch: 8 }), run)).to.deep.equal({
      lastSignOfLife: 1,
      declaredDead: 2,
      fenced: 2000,
      restored: 3000,
      started: 8000,
      switched: 8000,
      healthy: 9000,
    });
  });
});
