import { expect } from 'chai';

import { codeOf, startTestController, type TestController } from '../testing/test-controller.ts';

const PASSWORD = 'correct horse battery';

describe('login', () => {
  let test: TestController;
  before(async () => {
    test = await startTestController();
    await test.owner.addOperator({ name: 'ada', password: PASSWORD, roles: [{ domain: 'default', role: 'operator' }] });
  });
  after(() => test.close());

  it('gives a token for the right password, and the audit says so', async () => {
    const { token } = await test.operator().login({ operator: 'ada', password: PASSWORD });
    const me = await test.operator(token).whoAmI({});
    expect(me).to.deep.equal({ operator: 'ada', roles: [{ domain: 'default', role: 'operator' }] });
    const { entries } = await test.owner.listAudit({});
    expect(entries.map((entry) => entry.action)).to.include.members([
      'operator.login',
      'operator.add',
      'controller.first-start',
    ]);
  });

  it('5 there is no default credential: the owner has no password', async () => {
    for (const password of ['', 'admin', 'holdfast']) {
      expect(await codeOf(test.operator().login({ operator: 'admin', password }))).to.equal('UNAUTHENTICATED');
    }
  });

  it('refuses a short password and the removal of the last admin', async () => {
    const roles = [{ domain: 'default', role: 'viewer' }];
    expect(await codeOf(test.owner.addOperator({ name: 'bob', password: 'short', roles }))).to.equal(
      'INVALID_ARGUMENT',
    );
    const demote = test.owner.setRole({ operator: 'admin', domain: 'default', role: 'viewer' });
    expect(await codeOf(demote)).to.equal('FAILED_PRECONDITION');
  });

  it('makes who guesses wait, also with many attempts at once', async () => {
    const attempts = Array.from({ length: 12 }, () =>
      codeOf(test.operator().login({ operator: 'eve', password: 'x' })),
    );
    const codes = await Promise.all(attempts);
    expect(codes.filter((code) => code === 'LIMIT_EXCEEDED').length).to.be.greaterThan(4);
    expect(codes).to.not.include('none');
  });
});
