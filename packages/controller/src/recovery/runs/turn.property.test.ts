import { expect } from 'chai';
import fc from 'fast-check';

import { AT_ONCE, PATIENCE_MS, turnOf, whyNotYet, type DueRun } from './turn.ts';

const NOW = 1_800_000_000_000;

function due(plan: string, fields: Partial<DueRun> = {}): DueRun {
  const usual = { priority: 100, dependsOn: [], planned: false, sinceMs: NOW - 1000, state: 'waiting' } as const;
  return { id: plan, plan, ...usual, ...fields };
}
const mayBegin = (all: readonly DueRun[], nowMs = NOW, atOnce: number = AT_ONCE.default): DueRun[] =>
  all.filter(
    (one) =>
      one.state === 'waiting' &&
      whyNotYet(
        one,
        all.filter((other) => other !== one),
        nowMs,
        atOnce,
      ) === undefined,
  );

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
const state = fc.constantFrom<DueRun['state']>(
  ...Array<DueRun['state']>(4).fill('waiting'),
  'expected',
  'at-work',
  'stands',
  'back',
);
const site = fc.tuple(
  ...NAMES.map((plan) =>
    fc.record<DueRun>({
      id: fc.constant(plan),
      plan: fc.constant(plan),
      priority: fc.constantFrom(10, 50, 100),
      dependsOn: fc.subarray([...NAMES, 'no-plan'], { maxLength: 3 }),
      planned: fc.boolean(),
      sinceMs: fc.constantFrom(NOW - 3000, NOW - 2000, NOW - 1000),
      state,
    }),
  ),
);
const room = fc.constantFrom(1, 2, 4, 64);

describe('whose turn it is', () => {
  it('one failover alone never waits', () => {
    expect(whyNotYet(due('shop', { dependsOn: ['dns', 'shop'] }), [], NOW)).to.equal(undefined);
  });

  it('what others depend on comes first, then the lower priority, then who was due first', () => {
    const all = [
      due('shop', { priority: 10, dependsOn: ['dns'] }),
      due('dns', { priority: 500 }),
      ...['k', 'l', 'm', 'n'].map((plan) => due(plan, { priority: 50 })),
      due('late', { priority: 50, sinceMs: NOW }),
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
    expect(mayBegin([...asked, needy], needy.sinceMs + PATIENCE_MS)).to.deep.equal([needy]);
  });

  it('what a run depends on is waited for before its own run is there, takes no place, and may never come', () => {
    const dns = due('dns', { state: 'expected', priority: 1 });
    const shop = due('shop', { dependsOn: ['dns'] });
    expect(mayBegin([dns, shop, due('blog')], NOW, 1).map(({ plan }) => plan)).to.deep.equal(['blog']);
    expect(whyNotYet(shop, [dns], NOW)).to.include('it comes after dns');
    expect(whyNotYet(shop, [{ ...dns, dependsOn: ['shop'] }], NOW), 'a circle').to.equal(undefined);
    expect(whyNotYet(shop, [dns], shop.sinceMs + PATIENCE_MS)).to.equal(undefined);
  });

  it('who was agreed to late has all of its patience, and its place behind those that could begin before', () => {
    const late = NOW + 5 * PATIENCE_MS;
    const all = ['k', 'l', 'm', 'n'].map((plan) => due(plan, { sinceMs: late - 1 }));
    const own = due('a', { sinceMs: late });
    expect(whyNotYet(own, all, late)).to.include('4 at a time');
    expect(mayBegin([...all, own], late)).to.deep.equal(all);
    expect(turnOf('awaiting-approval', false)).to.equal('stands');
    expect(turnOf('awaiting-approval', true)).to.equal('waiting');
  });

  it('T1 T2 T3 the order never stands still, keeps to its number, and keeps dependencies', () => {
    fc.assert(
      fc.property(site, room, (first, atOnce) => {
        let all: readonly DueRun[] = first;
        for (let turns = 0; all.some((one) => one.state === 'waiting'); turns++) {
          expect(turns).to.be.lessThan(100);
          const begin = new Set(mayBegin(all, NOW, atOnce));
          for (const planned of [false, true]) {
            const of = (one: DueRun): boolean => planned || !one.planned;
            const atWork = all.filter((one) => one.state === 'at-work' && of(one)).length;
            const more = [...begin].filter(of).length;
            // Failovers begin whatever planned runs are at work, and those count them when they come.
            if (!planned) expect(more + atWork).to.be.at.most(Math.max(atOnce, atWork));
            else if ([...begin].some((one) => one.planned)) expect(more + atWork).to.be.at.most(atOnce);
          }
          for (const one of begin) {
            const rivals = all.filter((other) => other.state !== 'back' && (one.planned || !other.planned));
            const names = rivals.map(({ plan }) => plan);
            const open = one.dependsOn.filter((name) => name !== one.plan && names.includes(name));
            // In a circle none waits for the other.
            for (const name of open)
              expect(reaches(rivals, name, one.plan), `${one.plan} before ${name}`).to.equal(true);
          }
          const isOpen = (one: DueRun): boolean => one.state === 'stands' || one.state === 'expected';
          if (begin.size === 0 && !all.some((one) => one.state === 'at-work')) {
            expect(all.some(isOpen), 'only people, and what is expected, are waited for').to.equal(true);
            all = all.map((one) => {
              if (one.state === 'expected') return { ...one, state: 'waiting' };
              return one.state === 'stands' ? { ...one, state: 'back' } : one;
            });
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

  it('T5 failovers begin as if there were no planned runs', () => {
    fc.assert(
      fc.property(site, room, (all, atOnce) => {
        const failovers = all.filter(({ planned }) => !planned);
        expect(mayBegin(all, NOW, atOnce).filter(({ planned }) => !planned)).to.deep.equal(
          mayBegin(failovers, NOW, atOnce),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('T4 whoever waited long enough begins, whatever the others do', () => {
    fc.assert(
      fc.property(site, (all) => {
        const waiting = all.filter((one) => one.state === 'waiting');
        expect(mayBegin(all, NOW + PATIENCE_MS, 1)).to.deep.equal(waiting);
      }),
      { numRuns: 100 },
    );
  });
});

function reaches(all: readonly DueRun[], from: string, to: string, seen = new Set<string>()): boolean {
  if (from === to) return true;
  if (seen.has(from)) return false;
  seen.add(from);
  const live = all.find(({ plan }) => plan === from);
  return (live?.dependsOn ?? []).some((name) => reaches(all, name, to, seen));
}
