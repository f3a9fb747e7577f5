import { readFileSync } from 'node:fs';

import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import type { Plan } from '@holdfast/shared/recovery/plan';
import { expect } from 'chai';
import fc from 'fast-check';

import { drillState } from './drills.ts';
import { forecastOf } from './forecast.ts';
import { alertsOf, healthOf } from './plan-health.ts';
import type { PastRun, PastStep, PlanLook } from './plan-look.ts';
import { isReady, readinessOf } from './readiness.ts';

const example = readFileSync(new URL('../../../../../docs/plans.md', import.meta.url), 'utf8')
  .split('```yaml\n')[1]!
  .split('```')[0]!;

function planOf(from = '', to = ''): Plan {
  const { plan, findings } = checkPlan(example.replace(from, to));
  expect(findings).to.deep.equal([]);
  return plan!;
}

const DAY_MS = 86_400_000;
const NOW = new Date('2026-11-23T04:00:00Z');
const ago = (ms: number): Date => new Date(NOW.getTime() - ms);
const took = (id: string, tookMs: number, bytes?: number): PastStep => ({ id, state: 'ok', tookMs, bytes });

const drill: PastRun = {
  mode: 'drill',
  state: 'done',
  startedAt: ago(DAY_MS + 60_000),
  finishedAt: ago(DAY_MS),
  recoveryPointMs: ago(DAY_MS + 62_000).getTime(),
  moments: { healthy: ago(DAY_MS + 20_000).getTime() },
  steps: [
    took('files', 1000, 100),
    took('db', 3000, 100),
    took('db-ok', 100),
    took('migrate', 200),
    took('start', 1500),
    took('healthy', 2100),
  ],
};

function look(fields: Partial<PlanLook> = {}): PlanLook {
  const host = { state: 'online', silentMs: 100 } as const;
  return {
    now: NOW,
    plan: planOf(),
    findings: [],
    primary: 'web-1',
    standby: 'web-2',
    appliedAt: ago(100 * DAY_MS),
    verifiedAt: ago(DAY_MS),
    unverifiedBecause: '',
    hosts: new Map(['web-1', 'web-2', 'mon-1', 'api-1', 'db-1'].map((name) => [name, host])),
    sources: new Map(
      ['files', 'db'].map((name) => [name, { lagMs: 1000, state: 'protected', damaged: false, bytes: 100 }]),
    ),
    missingPlans: [],
    missingSecrets: [],
    suspicion: undefined,
    notify: undefined,
    further: [],
    runs: [drill],
    ...fields,
  };
}

const without = (
  map: ReadonlyMap<string, PlanLook['hosts'] extends ReadonlyMap<string, infer H> ? H : never>,
  name: string,
) => new Map([...map].filter(([key]) => key !== name));

describe('the forecast of a failover', () => {
  it('is detection, and the longest way to what is seen from outside', () => {
    const { rtoMs, rpoMs, assumed } = forecastOf(look());
    // 12 s until the promotion; db, db-ok, migrate, start, healthy; switch and outside, which no drill runs, and the rebuild that
    // the drill said nothing of, at 2 s each.
    expect(rtoMs).to.equal(12_000 + 3000 + 100 + 200 + 1500 + 2100 + 3 * 2000);
    expect(assumed).to.deep.equal(['rebuild', 'switch', 'outside']);
    expect(rpoMs).to.equal(1000);
  });

  it('is unknown before anything was measured, and where nothing is stored', () => {
    expect(forecastOf(look({ runs: [] })).rtoMs).to.equal(undefined);
    expect(forecastOf(look({ runs: [{ ...drill, state: 'failed' }] })).rtoMs).to.equal(undefined);
    expect(forecastOf(look({ sources: new Map() })).rpoMs).to.equal(undefined);
  });

  it('F1 a cold restore grows with the bytes, a warm one does not, and nothing makes it shorter', () => {
    const cold = planOf('mode: warm ', 'mode: cold ');
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(1000), fc.nat(5000), (less, more, slower) => {
        const at = (bytes: number, plan: Plan, extra = 0): number => {
          const sources = new Map(
            ['files', 'db'].map((name) => [name, { lagMs: 1, state: 'protected', damaged: false, bytes }]),
          );
          const steps = drill.steps.map((step) =>
            step.id === 'start' ? { ...step, tookMs: step.tookMs! + extra } : step,
          );
          return forecastOf(look({ plan, sources, runs: [{ ...drill, steps }] })).rtoMs!;
        };
        const [small, large] = [Math.min(less, more), Math.max(less, more)];
        expect(at(large, cold)).to.be.at.least(at(small, cold));
        expect(at(large, planOf())).to.equal(at(small, planOf()));
        expect(at(small, cold, slower)).to.be.at.least(at(small, cold));
      }),
      { numRuns: 50 },
    );
    const ten = new Map(
      ['files', 'db'].map((name) => [name, { lagMs: 1, state: 'protected', damaged: false, bytes: 1000 }]),
    );
    expect(forecastOf(look({ plan: cold, sources: ten })).rtoMs).to.equal(
      forecastOf(look({ plan: cold })).rtoMs! + 27_000,
    );
  });

  it('F2 a step that nothing healthy needs does not count', () => {
    const slow = { ...drill, steps: [...drill.steps, took('tell', 1e9)] };
    expect(forecastOf(look({ runs: [slow] })).rtoMs).to.equal(forecastOf(look()).rtoMs);
  });
});

describe('drills', () => {
  it('are due one interval after the last that worked, or after the plan was applied', () => {
    expect(drillState(look()).dueAt).to.deep.equal(new Date(drill.finishedAt.getTime() + 30 * DAY_MS));
    expect(drillState(look()).overdueMs).to.equal(0);
    const failed = drillState(look({ runs: [{ ...drill, state: 'failed' }] }));
    expect(failed.overdueMs).to.equal(70 * DAY_MS);
    expect(failed.lastAt).to.equal(undefined);
  });

  it('a real failover counts as one; without a schedule none is due', () => {
    const real = { ...drill, mode: 'unplanned', state: 'awaiting-commit' } as const;
    expect(drillState(look({ runs: [real] })).overdueMs).to.equal(0);
    const plan = planOf(', drillEvery: 30d', '');
    expect(drillState(look({ plan, runs: [] }))).to.deep.equal({ lastAt: undefined, dueAt: undefined, overdueMs: 0 });
  });
});

describe('readiness', () => {
  const facts = (fields: Partial<PlanLook> = {}) => healthOf(look(fields)).facts;
  const errors = (fields: Partial<PlanLook>) =>
    facts(fields).flatMap(({ level, subject }) => (level === 'error' ? [subject] : []));

  it('a plan that has all it needs is ready, and says what was looked at', () => {
    expect(facts().map(({ level }) => level)).to.deep.equal(facts().map(() => 'ok'));
    expect(facts().map(({ subject }) => subject)).to.have.members([
      'plan',
      'web-1',
      'web-2',
      'witnesses',
      'web-1/files',
      'web-1/db',
      'rto',
      'drill',
    ]);
  });

  it('R1 what a run can’t do without is an error', () => {
    const { hosts, sources } = look();
    const offline = { state: 'offline', silentMs: 9e6 } as const;
    expect(errors({ verifiedAt: null, unverifiedBecause: 'a host was replaced' })).to.deep.equal(['plan']);
    expect(errors({ hosts: without(hosts, 'web-2') })).to.deep.equal(['web-2']);
    expect(errors({ hosts: new Map([...hosts, ['web-2', offline]]) })).to.deep.equal(['web-2']);
    expect(errors({ hosts: without(without(hosts, 'mon-1'), 'db-1') })).to.deep.equal(['witnesses']);
    expect(errors({ sources: new Map([...sources].slice(1)) })).to.deep.equal(['web-1/files']);
    expect(
      errors({
        sources: new Map([...sources, ['db', { lagMs: undefined, state: 'unprotected', damaged: false, bytes: 0 }]]),
      }),
    ).to.deep.equal(['web-1/db']);
    expect(errors({ missingSecrets: ['shop-db-password'] })).to.deep.equal(['secret shop-db-password']);
  });

  it('a dead primary, old data, one witness less, a failed drill and a missed objective are risks, and the plan stays ready', () => {
    const { hosts, sources } = look();
    const risks: Partial<PlanLook>[] = [
      { hosts: new Map([...hosts, ['web-1', { state: 'offline', silentMs: 9e6 }]]) },
      { missingPlans: ['dns'] },
      { hosts: without(hosts, 'mon-1') },
      { sources: new Map([...sources, ['db', { lagMs: 301_000, state: 'behind', damaged: false, bytes: 1 }]]) },
      { sources: new Map([...sources, ['db', { lagMs: 1, state: 'protected', damaged: true, bytes: 1 }]]) },
      { runs: [{ ...drill, state: 'clean-up-incomplete' }] },
      { runs: [] },
      { plan: planOf('rto: 15m', 'rto: 10s') },
      { now: new Date(NOW.getTime() + 40 * DAY_MS) },
    ];
    for (const risk of risks) {
      const found = facts(risk);
      expect(isReady(found)).to.equal(true);
      expect(
        found.filter(({ level }) => level === 'warning'),
        JSON.stringify(found),
      ).to.have.length.at.least(1);
    }
  });

  it('a contact that nobody is behind, and mail without a mail server, are risks', () => {
    const smtp = { host: 'mail.test', port: 587, from: 'a@b', tls: 'starttls' } as const;
    const oncall = { email: [], webhook: { url: 'https://pager.test/' } };
    const told = (notify: NonNullable<PlanLook['notify']>) =>
      facts({ notify }).flatMap(({ subject, level, message }) =>
        subject === 'contacts' ? [`${level}: ${message}`] : [],
      );
    expect(told({ contacts: { oncall }, smtp })).to.deep.equal(['ok: 2 can be told']);
    expect(told({ contacts: { oncall }, smtp: undefined })).to.deep.equal([
      'warning: no mail goes to ops@plik.example: there is no mail server',
    ]);
    expect(told({ contacts: {}, smtp })).to.deep.equal(['warning: nobody is behind oncall']);
  });

  it('what other parts know stands in its place by how bad it is', () => {
    const cold = { level: 'warning', subject: 'web-1/db', message: 'its warm copy stands still', remedy: '' } as const;
    const found = facts({ further: [cold], missingSecrets: ['a'] });
    expect(found.map(({ level }) => level).slice(0, 3)).to.deep.equal(['error', 'warning', 'ok']);
    expect(found[1]).to.deep.equal(cold);
  });

  it('what this version would refuse of an applied document is a warning: a failover by it is better than none', () => {
    const finding = { line: 7, column: 3, field: 'steps[2].ahead', message: 'it may not' };
    const seen = facts({ findings: [finding] });
    expect(isReady(seen)).to.equal(true);
    const told = seen.find(({ message }) => message.includes('line 7, steps[2].ahead: it may not'));
    expect(told).to.include({ level: 'warning', subject: 'plan' });
  });

  it('R2 what is not well says what to do, and the worst comes first', () => {
    const all = readinessOf(
      look({ hosts: new Map(), sources: new Map(), runs: [], verifiedAt: null, missingSecrets: ['a'] }),
      {
        forecast: { rtoMs: 1e9, rpoMs: undefined, assumed: [] },
        drill: { lastAt: undefined, dueAt: undefined, overdueMs: 0 },
      },
    );
    for (const { level, remedy } of all) expect(remedy === '').to.equal(level === 'ok');
    const levels = all.map(({ level }) => level);
    expect(levels).to.deep.equal([...levels].toSorted((a, b) => 'ewo'.indexOf(a[0]!) - 'ewo'.indexOf(b[0]!)));
  });
});

describe('alerts of a plan', () => {
  const keys = (fields: Partial<PlanLook> = {}) => {
    const seen = look(fields);
    return alertsOf('p', seen, healthOf(seen)).map(({ key }) => key);
  };

  it('a plan that is well has none', () => {
    expect(keys()).to.deep.equal([]);
  });

  it('what lasts is told once a day, an overdue drill once a week, and something new at once', () => {
    const later = (days: number, fields: Partial<PlanLook> = {}) =>
      keys({ now: new Date(NOW.getTime() + days * DAY_MS), ...fields });
    const unready = { missingSecrets: ['a'] };
    expect(later(0, unready)).to.deep.equal(later(0.5, unready));
    expect(later(1, unready)).to.not.deep.equal(later(0, unready));
    expect(later(0, { ...unready, verifiedAt: null })).to.not.deep.equal(later(0, unready));
    expect(later(40)).to.have.length(1);
    expect(later(41)).to.deep.equal(later(40));
    expect(later(48)).to.not.deep.equal(later(40));
  });

  it('a mass change is told once, with what to do; the plan stays ready', () => {
    const atMs = ago(3_600_000).getTime();
    const seen = look({ suspicion: { source: 'files', atMs, why: 'most files are gone' } });
    const health = healthOf(seen);
    expect(health.ready).to.equal(true);
    expect(health.facts[0]).to.include({ level: 'warning', subject: 'web-1/files' });
    expect(health.facts[0]?.message)
      .to.include('2026-11-23 03:00 UTC (most files are gone)')
      .and.include('before that');
    const [told] = alertsOf('p', seen, health);
    expect(told).to.deep.include({ template: 'mass-change', key: 'mass-change/p/files/2026-11-23T03:00:00.000Z' });
    expect(alertsOf('p', { ...seen, now: new Date(NOW.getTime() + DAY_MS) }, health)[0]?.key).to.equal(told?.key);
  });

  it('each objective that would be missed is told with both values', () => {
    const seen = look({ plan: planOf('rto: 15m, rpo: 5m', 'rto: 10s, rpo: 500ms') });
    const health = healthOf(seen);
    expect(health.breaches.map(({ objective, runAt }) => [objective, runAt === undefined])).to.deep.equal([
      ['rto', true],
      ['rpo', true],
      ['rto', false],
      ['rpo', false],
    ]);
    const told = alertsOf('p', seen, health).filter(({ facts }) => facts['forecast'] !== undefined);
    expect(told.map(({ facts }) => facts['objective'])).to.deep.equal(['RTO', 'RPO']);
    expect(told[1]?.facts).to.include({ plan: 'shop', promised: '500ms', forecast: '1 s' });
  });

  it('what a run missed is told once, whatever the forecast says now', () => {
    const slow: PastRun = {
      ...drill,
      mode: 'unplanned',
      moments: { lastSignOfLife: ago(DAY_MS + 1e7).getTime(), healthy: ago(DAY_MS).getTime() },
    };
    const at = (days: number) => keys({ runs: [slow], now: new Date(NOW.getTime() + days * DAY_MS) });
    expect(at(0)).to.have.length(1);
    expect(at(5)).to.deep.equal(at(0));
  });
});
