import { expect } from 'chai';

import type { WarmWish } from './due.ts';
import { warmFact } from './warm-facts.ts';
import type { WarmCopyRow } from './warm-rows.ts';

const NOW_MS = 1_700_000_000_000;
const wish: WarmWish = {
  planId: 'shop',
  sourceId: 'db',
  hostId: 'web-2',
  kind: 'postgres',
  target: '/srv/db',
  newest: '02',
  timeline: 1,
  domainId: 'default',
  port: 0,
  options: {},
};
const copy: WarmCopyRow = {
  planId: 'shop',
  sourceId: 'db',
  hostId: 'web-2',
  kind: 'postgres',
  target: '/srv/db',
  busy: false,
  applied: '01',
  timeline: 1,
  grantUntilMs: NOW_MS,
  failures: 0,
  triedAtMs: 0,
  state: 'replaying',
  releasing: false,
  sourceName: 'web-1/db',
  hostName: 'web-2',
  appliedAt: new Date(NOW_MS),
  error: '',
  note: '',
  replayed: 1n,
  completeToMs: 0,
  reportedAt: new Date(NOW_MS),
};

describe('what is said of a warm copy', () => {
  const said = (change: Partial<WarmCopyRow> | undefined, wanted: Partial<WarmWish> = {}): string => {
    const known = change === undefined ? undefined : { ...copy, ...change };
    const { level, message } = warmFact({ ...wish, ...wanted }, known, 'web-1/db', NOW_MS);
    return `${level}: ${message}`;
  };

  it('is well while it replays, or is the newest snapshot', () => {
    expect(said({})).to.equal('ok: its warm copy on web-2 replays the log');
    expect(said({ kind: 'files', applied: '02' }, { kind: 'files' })).to.match(/^ok: .* is the newest snapshot$/);
  });

  it('says why a failover would take longer', () => {
    expect(said(undefined)).to.equal('warning: its warm copy was not begun yet');
    expect(said({}, { newest: '' })).to.match(/^warning: there is no snapshot yet/);
    expect(said({ hostId: 'web-3' })).to.equal('warning: its warm copy was not begun yet');
    expect(said({ applied: '' })).to.match(/^warning: .* is being made$/);
    expect(said({ failures: 2, error: 'no room' })).to.match(/^warning: .* is not brought on: no room$/);
    expect(said({ state: 'broken', note: 'a hole' })).to.match(/^warning: .* stands still: a hole$/);
    expect(said({ note: 'waits: away' })).to.match(/^warning: .* does not go on \(waits: away\)$/);
    expect(said({ reportedAt: new Date(NOW_MS - 61_000) })).to.match(/^warning: nobody knows/);
    expect(said({ kind: 'files' }, { kind: 'files' })).to.match(/^warning: .* is being brought/);
  });
});
