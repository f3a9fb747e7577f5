import { expect } from 'chai';
import fc from 'fast-check';

import { AT_ONCE, PATIENCE_MS, whyNotYet, type DueRun } from './turn.ts';

const NOW = 1_800_000_000_000;

function due(plan: string, fields: Partial<DueRun> = {}): DueRun {
  return { id: plan, plan, priority: 100, dependsOn: [], startedAtMs: NOW - 1000, state: 'waiting', ...fields };
}
const mayBegin = (all: readonly DueRun[], nowMs = NOW): DueRun[] =>
  all.filter(
    (one) =>
      one.state === 'waiting' &&
      whyNotYet(
        one,
        all.filter((other) => other !== one),
        nowMs,
      ) === undefined,
  );

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
const site = fc.tuple(
  ...NAMES.map((plan) =>
    fc.record({
      id: fc.constant(plan),
      plan: fc.constant(plan),
      priority: fc.constantFrom(10, 50, 100),
      dependsOn: fc.subarray([...NAMES, 'no-plan'], { maxLength: 3 }),
      startedAtMs: fc.constantFrom(NOW - 3000, NOW - 2000, NOW - 1000),
      state: fc.constantFrom<DueRun['state']>('waiting', 'waiting', 'waiting', 'at-work', 'stands', 'back'),
    }),
  ),
);

describe('whose turn it is', () => {
  it('one failover alone never waits', () => {
    expect(whyNotYet(due('shop', { dependsOn: ['dns', 'shop'] }), [], NOW)).to.equal(undefined);
  });

  it('what others depend on comes first, then the lower priority, then who was due first', () => {
    const all = [
      due('shop', { priority: 10, dependsOn: ['dns'] }),
      due('dns', { priority: 500 }),
      ...['k', 'l', 'm', 'n'].map((plan) => due(plan, { priority: 50 })),
      due('late', { priority: 50, startedAtMs: NOW }),
    ];
    expect(mayBegin(all).map(({ plan }) => plan)).to.deep.equal(['k', 'l', 'm', 'n']);
    const reason = whyNotYet(all[0]!, all.slice(1), NOW);
    expect(reason).to.include('it comes after dns');
    const [shop, dns, ...rest] = all;
    const later = [shop!, { ...dns!, state: 'back' as const }, ...rest];
    expect(mayBegin(later).map(({ plan }) => plan)).to.deep.equal(['shop', 'k', 'l', 'm']);
  });

  it('what waits for people holds nobody up but those that depend on it, and those for a time', () => {
    const asked = NAMES.slice(0, 6).map((plan) => due(plan, { state: 'stands', priority: 1 }));
    expect(mayBegin([...asked, due('shop')]).map(({ plan }) => plan)).to.deep.equal(['shop']);
    const needy = due('shop', { dependsOn: ['a'] });
    expect(mayBegin([...asked, needy])).to.deep.equal([]);
    expect(mayBegin([...asked, needy], needy.startedAtMs + PATIENCE_MS)).to.deep.equal([needy]);
  });

  it('T1 T2 T3 the order never stands still, keeps to its number, and keeps dependencies', () => {
    fc.assert(
      fc.property(site, (first) => {
        let all: readonly DueRun[] = first;
        for (let turns = 0; all.some(({ state }) => state === 'waiting'); turns++) {
          expect(turns).to.be.lessThan(100);
          const atWork = all.filter(({ state }) => state === 'at-work').length;
          const begin = new Set(mayBegin(all));
          expect(begin.size + atWork).to.be.at.most(Math.max(AT_ONCE, atWork));
          for (const one of begin) {
            const names = all.filter(({ state }) => state !== 'back').map(({ plan }) => plan);
            const open = one.dependsOn.filter((name) => name !== one.plan && names.includes(name));
            // In a circle none waits for the other.
            for (const name of open) expect(reaches(all, name, one.plan), `${one.plan} before ${name}`).to.equal(true);
          }
          const stands = all.some(({ state }) => state === 'stands');
          if (begin.size === 0 && atWork === 0) {
            expect(stands, 'only people are waited for').to.equal(true);
            all = all.map((one) => (one.state === 'stands' ? { ...one, state: 'back' } : one));
          } else {
            all = all.map((one) => {
              if (one.state === 'at-work') return { ...one, state: 'back' };
              return begin.has(one) ? { ...one, state: 'at-work' } : one;
            });
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('T4 whoever waited long enough begins, whatever the others do', () => {
    fc.assert(
      fc.property(site, (all) => {
        const waiting = all.filter(({ state }) => state === 'waiting');
        expect(mayBegin(all, NOW + PATIENCE_MS)).to.deep.equal(waiting);
      }),
      { numRuns: 100 },
    );
  });
});

function reaches(all: readonly DueRun[], from: string, to: string, seen = new Set<string>()): boolean {
  if (from === to) return true;
  if (seen.has(from)) return false;
  seen.add(from);
  const live = all.find(({ plan, state }) => plan === from && state !== 'back');
  return (live?.dependsOn ?? []).some((name) => reaches(all, name, to, seen));
}
