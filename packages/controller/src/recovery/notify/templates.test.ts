import { expect } from 'chai';

import { wordsOf } from './templates.ts';

const WORDS =
  'failover drill approval paused failed unready overdue-drill mass-change primary-dead objective-breached undelivered split-brain'.split(
    ' ',
  );

describe('the words of messages', () => {
  it('every template names the plan in its subject, shows every fact, and says what to do', () => {
    for (const template of WORDS) {
      const { subject, text } = wordsOf({ template, facts: { plan: 'shop', run: '7d0c', to: 'web-2', odd: 'kept' } });
      expect(subject).to.match(/^Holdfast: shop: \S/);
      expect(text).to.contain('odd:').and.contain('kept');
      expect(text.trimEnd().split('\n').at(-1)).to.match(/holdfast |Tell them/);
      expect(text).to.not.contain('undefined');
    }
  });

  it('facts that are missing leave their words out', () => {
    for (const template of WORDS)
      expect(wordsOf({ template, facts: {} }).text).to.not.match(/undefined| {2,}\S+ {2}|\.\./);
  });

  it('a plan’s own word shows its facts; a subject is one short line', () => {
    const { subject, text } = wordsOf({ template: 'tell the\r\nboss', facts: { plan: 'shop', why: 'because' } });
    expect(subject).to.equal('Holdfast: shop: tell the boss');
    expect(text).to.contain('because');
    expect(wordsOf({ template: 'x'.repeat(1000), facts: {} }).subject).to.have.length(150);
    expect(wordsOf({ template: 'constructor', facts: {} }).subject).to.equal('Holdfast: constructor');
  });
});
