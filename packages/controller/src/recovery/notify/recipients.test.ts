import { expect } from 'chai';

import { alertContacts } from './alert-contacts.ts';
import { others, recipientsOf } from './recipients.ts';

const ofPlan = {
  oncall: { email: ['a@shop.test', 'b@shop.test'], webhook: { url: 'https://pager.test/a', secret: 'pager' } },
  empty: { email: [] },
};
const ofController = { oncall: { email: ['desk@backup.test'] }, desk: { email: ['desk@backup.test', 'a@shop.test'] } };

describe('recipients', () => {
  it('a plan’s contact hides the controller’s of the same name; all of its ways are used', () => {
    const found = recipientsOf(['oncall'], ofPlan, ofController);
    expect(found.map(({ channel, address, ofPlan: own }) => [channel, address, own])).to.deep.equal([
      ['email', 'a@shop.test', true],
      ['email', 'b@shop.test', true],
      ['webhook', 'https://pager.test/a', true],
    ]);
  });

  it('an address counts once, and one may be named itself', () => {
    const found = recipientsOf(['oncall', 'desk', 'new@shop.test'], ofPlan, ofController);
    expect(found.map(({ address }) => address)).to.have.members([
      'a@shop.test',
      'b@shop.test',
      'https://pager.test/a',
      'desk@backup.test',
      'new@shop.test',
    ]);
  });

  it('a name without an address is a recipient that can’t be reached', () => {
    const found = recipientsOf(['nobody', 'empty', '__proto__'], ofPlan, ofController);
    expect(found.map(({ channel, address }) => [channel, address])).to.deep.equal([
      ['none', 'nobody'],
      ['none', 'empty'],
      ['none', '__proto__'],
    ]);
  });

  it('the others are everybody that is known, without the one that failed', () => {
    const found = others({ channel: 'email', address: 'a@shop.test' }, ofPlan, ofController);
    expect(found.map(({ address }) => address)).to.have.members([
      'b@shop.test',
      'https://pager.test/a',
      'desk@backup.test',
    ]);
  });

  it('of a plan that is not well, its contacts and its owner hear, or else the controller’s', () => {
    const told = (owner: string, contacts: object, desk: string[]) =>
      alertContacts({ owner, contacts: { ...contacts } }, desk);
    expect(told('ops@shop.test', ofPlan, ['desk'])).to.deep.equal(['oncall', 'empty', 'ops@shop.test']);
    expect(told('ops', ofPlan, ['desk'])).to.deep.equal(['oncall', 'empty']);
    expect(told('ops', {}, ['desk'])).to.deep.equal(['desk']);
    expect(told('ops', {}, ['desk', 'ops'])).to.deep.equal(['ops']);
    expect(told('constructor', {}, [])).to.deep.equal([]);
  });
});
