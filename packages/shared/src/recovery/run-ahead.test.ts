import { expect } from 'chai';

import { preparesAhead, whyNotAhead } from './run-ahead.ts';
import { STEP_TYPES, stepSchema, type Step } from './step-types.ts';

/** Fields that the types need besides id and type. */
const NEEDED: Readonly<Record<string, object>> = {
  manual: { text: 'look' },
  wait: { for: '1s' },
  snapshot: { sources: ['files'] },
  'service.start': { units: ['shop'] },
  'service.stop': { units: ['shop'] },
  command: { run: ['/bin/true'] },
  'check.http': { url: 'http://10.0.0.1/' },
  'check.tcp': { address: '10.0.0.1:80' },
  'check.sql': { source: 'db', query: 'select 1' },
  'check.command': { run: ['/bin/true'] },
  traffic: { via: [{ dns: { name: 'shop.example.' } }] },
  notify: { to: ['oncall'], template: 'failover' },
};

function step(type: string, fields: object = {}): Step {
  const restored = type.startsWith('restore.') ? { source: 'files' } : {};
  return stepSchema.parse({ id: 'it', type, ahead: true, ...restored, ...NEEDED[type], ...fields });
}

const plan = (mode: 'cold' | 'warm'): Parameters<typeof whyNotAhead>[1] => {
  return { placement: { hosts: ['web-1', 'web-2'], mode, vars: {} } };
};

describe('what runs ahead', () => {
  it('of all types only a rebuild, looks, waits, and restores of files to a place of their own', () => {
    const may = STEP_TYPES.filter((type) => {
      const target = type.startsWith('restore.') ? { target: '/srv/staging' } : {};
      return whyNotAhead(step(type, target), plan('cold')) === undefined;
    });
    expect(may.toSorted()).to.deep.equal([
      'check.http',
      'check.sql',
      'check.tcp',
      'rebuild',
      'restore.files',
      'restore.sqlite',
      'wait',
    ]);
  });

  it('nothing on a host by its own name, or on the primary: roles are swapped by a failover', () => {
    for (const host of ['primary', 'web-1', 'web-2']) {
      expect(whyNotAhead(step('rebuild', { host }), plan('cold'))).to.contain(`not on "${host}"`);
      expect(whyNotAhead(step('restore.files', { host, target: '/srv/staging' }), plan('cold'))).to.contain(host);
    }
  });

  it('no restore over the place that is served from, none that ends a warm copy, none that moves a service', () => {
    const aside = { target: '/srv/staging' };
    expect(whyNotAhead(step('restore.files'), plan('cold'))).to.contain('"target"');
    expect(whyNotAhead(step('restore.files', aside), plan('warm'))).to.contain('warm copy');
    expect(whyNotAhead(step('restore.sqlite', { ...aside, unit: 'shop' }), plan('cold'))).to.contain('stop and start');
    expect(whyNotAhead(step('restore.postgres', aside), plan('cold'))).to.contain('starts the server');
  });
});

describe('what is prepared while a primary is only suspected', () => {
  it('of what may run ahead, only what needs no recovery point, on the standby alone', () => {
    const may = STEP_TYPES.filter((type) => {
      const target = type.startsWith('restore.') ? { target: '/srv/staging' } : {};
      return preparesAhead(step(type, target), plan('cold'));
    });
    expect(may.toSorted()).to.deep.equal(['check.http', 'check.sql', 'check.tcp', 'rebuild', 'wait']);
    for (const type of ['check.http', 'check.tcp', 'check.sql', 'rebuild']) {
      for (const host of ['primary', 'web-1', 'web-2'])
        expect(preparesAhead(step(type, { host }), plan('cold'))).to.equal(false);
    }
    expect(preparesAhead(step('check.http', { from: 'witnesses' }), plan('cold'))).to.equal(false);
    expect(preparesAhead(step('rebuild', { ahead: false }), plan('cold'))).to.equal(false);
  });
});
