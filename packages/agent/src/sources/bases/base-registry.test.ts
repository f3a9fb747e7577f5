import { expect } from 'chai';
import { endBases, followBases, isBaseRunning, noteBase } from './base-registry.ts';
import { pointAt } from './testing/point-at.ts';

describe('the bases that are being taken', () => {
  it('BR1 end when their source becomes another server, and no other does', () => {
    const leave = followBases('four', 'here:5432', () => undefined);
    const [base, other] = [noteBase('four', 'here:5432'), noteBase('five', 'here:5432')];
    leave();
    followBases('four', 'here:5432', () => undefined)();
    expect(base.signal.aborted).to.equal(false);
    const leaveThere = followBases('four', 'there:5432', () => undefined);
    // One that was asked for before begins only now.
    const late = noteBase('four', 'here:5432');
    expect([base, late, other].map(({ signal: { aborted } }) => aborted)).to.deep.equal([true, true, false]);
    expect(base.signal.reason).to.have.property('code', 'FAILED_PRECONDITION');
    for (const one of [base, late, other]) one.end();
    leaveThere();
  });

  it('BR1 end when somebody says that the server is not of the source any more', () => {
    const [base, other] = [noteBase('eight', 'here:5432'), noteBase('eight', 'there:5432')];
    endBases('eight', (server) => server === 'here:5432');
    expect([base, other].map(({ signal: { aborted } }) => aborted)).to.deep.equal([true, false]);
    for (const one of [base, other]) one.end();
  });

  it('BR2 are heard of when they are stored, by whoever follows their source then', () => {
    const heard: string[] = [];
    const hear = (who: string) => followBases('six', 'here:5432', ({ start }) => heard.push(`${who} ${start.order}`));
    const [base, other] = [noteBase('six', 'here:5432'), noteBase('seven', 'here:5432')];
    const leaveOld = hear('old');
    const leave = hear('new');
    leaveOld();
    expect(isBaseRunning('six')).to.equal(true);
    base.stored(pointAt(1n));
    other.stored(pointAt(2n));
    base.end();
    other.end();
    expect(isBaseRunning('six')).to.equal(false);
    leave();
    base.stored(pointAt(3n));
    expect(heard).to.deep.equal(['new 1']);
  });
});
