import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { expect } from 'chai';

import { attemptsOf, canProbe, canUndo, phasesOf, refusedInDrill, standsOnOthers, timeoutMs } from './step-policy.ts';

const { plan } = checkPlan(`
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
render: [{file: /etc/shop.ini, replace: {a: b}}]
sources: [files, db]
approvals: {roles: [approver], need: 1, timeout: 3m, onTimeout: pause}
steps:
  - {id: sign, type: approval}
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: files, type: restore.files, source: files, needs: [fence]}
  - {id: db, type: restore.postgres, source: db, target: /db, unit: postgresql, needs: [fence]}
  - {id: migrate, type: command, run: [/bin/migrate], undo: [/bin/back], needs: [files]}
  - {id: once, type: command, run: [/bin/once], probe: [/bin/is], timeout: 9s, needs: [fence]}
  - {id: start, type: service.start, units: [shop], needs: [migrate, fence]}
  - {id: healthy, type: check.http, url: "http://x/", needs: [start]}
  - {id: switch, type: traffic, in: [unplanned, planned], via: [{address: {ip: 10.0.0.9/24, dev: eth0}}], needs: [fence]}
`);
const steps = new Map(plan!.steps.map((step) => [step.id, step]));
const of = <T>(ask: (step: NonNullable<ReturnType<typeof steps.get>>) => T): Record<string, T> =>
  Object.fromEntries([...steps].map(([id, step]) => [id, ask(step)]));

describe('what is particular about steps', () => {
  it('phases: units around a restore, files rendered after it, a look behind what changes a host', () => {
    expect(of((step) => phasesOf(step, plan!, false).join(' '))).to.deep.equal({
      sign: '',
      fence: '',
      files: 'apply render',
      db: 'stop-unit apply start-unit',
      migrate: 'apply verify',
      once: 'apply verify',
      start: 'apply verify',
      healthy: 'apply',
      switch: 'apply verify',
    });
  });

  it('a copy that replays is not stopped before it takes over: its server would start again in between', () => {
    expect(phasesOf(steps.get('db')!, plan!, true)).to.deep.equal(['apply', 'start-unit']);
  });

  it('tried again by itself only where that is safe, and a check never: it has looked long enough', () => {
    expect(of(attemptsOf)).to.deep.include({ migrate: 1, once: 2, start: 3, healthy: 1, files: 3, fence: 1, sign: 1 });
  });

  it('undone is what can be; a fence and what was restored never', () => {
    const undone = [...steps.values()].filter(canUndo).map(({ id }) => id);
    expect(undone).to.deep.equal(['migrate', 'start', 'switch']);
    expect([...steps.values()].filter(({ type }) => canProbe(type)).map(({ id }) => id)).to.deep.equal([
      'migrate',
      'once',
      'start',
      'switch',
    ]);
  });

  it('times: the plan’s own, else the type’s; a fence waits for ever', () => {
    expect(of((step) => timeoutMs(step, plan!))).to.deep.include({
      sign: 180_000,
      once: 9_000,
      fence: undefined,
      healthy: 60_000,
    });
  });

  it('a drill refuses the primary, fences and traffic, whatever the plan says', () => {
    expect(refusedInDrill(steps.get('start')!, true)).to.include('nothing on the primary');
    expect(refusedInDrill(steps.get('start')!, false)).to.equal(undefined);
    expect(refusedInDrill(steps.get('switch')!, false)).to.equal('no traffic in a drill');
    expect(refusedInDrill(steps.get('fence')!, false)).to.equal('no fence in a drill');
  });

  it('what an earlier step brings may be missing before', () => {
    expect([...steps.values()].filter((step) => standsOnOthers(step, plan!)).map(({ id }) => id)).to.deep.equal([
      'migrate',
      'start',
      'healthy',
    ]);
  });
});
