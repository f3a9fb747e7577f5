import { expect } from 'chai';
import fc from 'fast-check';

import { dueOf, HOST_JOBS_MAX, RETRY_MAX_MS, type WarmCopy, type WarmState, type WarmWish } from './due.ts';

const id = fc.constantFrom('a', 'b', 'c');
const kind = fc.constantFrom('files' as const, 'postgres' as const);
const place = { planId: id, sourceId: id, hostId: id, kind, target: fc.constantFrom('/srv', '/opt') };
const wish: fc.Arbitrary<WarmWish> = fc.record({
  ...place,
  newest: fc.constantFrom('', '01', '02'),
  timeline: fc.constantFrom(0, 1, 2),
  domainId: fc.constant('d'),
  port: fc.constant(0),
  options: fc.constant({}),
});
const copy: fc.Arbitrary<WarmCopy> = fc.record({
  ...place,
  busy: fc.boolean(),
  applied: fc.constantFrom('', '01', '02'),
  timeline: fc.constantFrom(0, 1, 2),
  grantUntilMs: fc.integer({ min: 0, max: 10 ** 10 }),
  failures: fc.integer({ min: 0, max: 30 }),
  triedAtMs: fc.integer({ min: 0, max: 10 ** 7 }),
  state: fc.constantFrom('', 'replaying', 'broken'),
  releasing: fc.boolean(),
});
const key = ({ planId, sourceId }: { planId: string; sourceId: string }): string => `${planId} ${sourceId}`;
const state: fc.Arbitrary<WarmState> = fc.record({
  wishes: fc.uniqueArray(wish, { selector: key, maxLength: 9 }),
  copies: fc.uniqueArray(copy, { selector: key, maxLength: 9 }),
  running: fc.uniqueArray(id, { maxLength: 2 }).map((ids) => new Set(ids)),
  nowMs: fc.integer({ min: 0, max: 10 ** 7 }),
});

describe('what is due of warm copies', () => {
  it('WK1 nothing during a run, and nothing but on the present standby', () => {
    fc.assert(
      fc.property(state, (now) => {
        for (const action of dueOf(now)) {
          const { planId } = action.kind === 'keep' ? action.wish : action.copy;
          expect(now.running.has(planId)).to.equal(false);
          if (action.kind === 'keep') expect(now.wishes).to.include(action.wish);
        }
      }),
    );
  });

  it('WK2 one job for a copy and few for a host, each of the newest', () => {
    fc.assert(
      fc.property(state, (now) => {
        const kept = dueOf(now).flatMap((action) => (action.kind === 'keep' ? [action.wish] : []));
        expect(new Set(kept.map(key)).size).to.equal(kept.length);
        for (const one of kept) {
          const known = now.copies.find((other) => key(other) === key(one));
          expect(known?.busy ?? false).to.equal(false);
          const before = now.copies.filter((other) => other.busy && other.hostId === one.hostId).length;
          const added = kept.filter((other) => other.hostId === one.hostId).length;
          expect(before + added).to.be.at.most(HOST_JOBS_MAX);
        }
      }),
    );
  });

  it('WK3 a current copy is left alone; a stale one that has waited long enough is brought on', () => {
    const files: WarmWish = {
      planId: 'a',
      sourceId: 'a',
      hostId: 'a',
      kind: 'files',
      target: '/srv',
      newest: '02',
      timeline: 0,
      domainId: 'd',
      port: 0,
      options: {},
    };
    const { newest, domainId: _domain, port: _port, options: _options, ...same } = files;
    const known = {
      ...same,
      busy: false,
      applied: newest,
      grantUntilMs: 0,
      failures: 0,
      triedAtMs: 0,
      state: '',
      releasing: false,
    };
    const due = (one: WarmCopy, nowMs = 0): number =>
      dueOf({ wishes: [files], copies: [one], running: new Set(), nowMs }).length;
    expect(due(known)).to.equal(0);
    expect(due({ ...known, applied: '01' })).to.equal(1);
    for (let failures = 1; failures < 40; failures++) {
      expect(due({ ...known, applied: '01', failures }, RETRY_MAX_MS)).to.equal(1);
      expect(due({ ...known, applied: '01', failures }, 9_999)).to.equal(0);
    }
    const database: WarmWish = { ...files, kind: 'postgres', timeline: 3 };
    const far = 10 ** 12;
    const replaying: WarmCopy = {
      ...known,
      kind: 'postgres',
      applied: '01',
      timeline: 3,
      grantUntilMs: far,
      state: 'replaying',
    };
    const dueDatabase = (one: WarmCopy, nowMs = 0): number =>
      dueOf({ wishes: [database], copies: [one], running: new Set(), nowMs }).length;
    expect(dueDatabase(replaying), 'a newer base').to.equal(0);
    expect(dueDatabase({ ...replaying, state: 'broken' })).to.equal(1);
    expect(dueDatabase({ ...replaying, timeline: 2 })).to.equal(1);
    expect(dueDatabase(replaying, far)).to.equal(1);
  });

  it('WK4 what nobody wishes for there is released, again and again until it is, and is kept elsewhere only after that', () => {
    fc.assert(
      fc.property(state, (now) => {
        const actions = dueOf(now);
        for (const one of now.copies) {
          const wished = now.wishes.some(
            (other) =>
              !one.releasing &&
              key(other) === key(one) &&
              other.hostId === one.hostId &&
              other.target === one.target &&
              other.kind === one.kind,
          );
          const released = actions.some((action) => action.kind === 'release' && action.copy === one);
          const longAgo = one.failures === 0 || now.nowMs >= one.triedAtMs + RETRY_MAX_MS;
          const free = !wished && !one.busy && !now.running.has(one.planId);
          if (!free || !one.releasing || longAgo) expect(released).to.equal(free);
          if (!wished)
            expect(actions.some((action) => action.kind === 'keep' && key(action.wish) === key(one))).to.equal(false);
        }
      }),
    );
  });
});
