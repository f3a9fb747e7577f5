import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { expect } from 'chai';

import { renderings, substitute, substituteStep, variablesFor } from './substitute.ts';

const { plan } = checkPlan(`
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {web-1: {bind: 10.0.0.1, trick: "\${bind}"}, web-2: {bind: 10.0.0.2, trick: "\${primary.bind}"}}}
render: [{file: /etc/shop.ini, replace: {"\${primary.bind}": "\${bind}"}}]
sources: [files]
steps:
  - {id: tell, type: command, run: [/bin/echo, "\${bind}", "\${primary.bind}", "\${recoveryPoint}", "\${trick}"], timeout: 3m}
`);

describe('variables of a plan', () => {
  const names = { host: 'web-2', primary: 'web-1', standby: 'web-2' };

  it('puts in the host’s own, the primary’s and the point, once: what is put in is not looked through again', () => {
    const step = substituteStep(plan!.steps[0]!, variablesFor(plan!, names, 0));
    expect(step).to.deep.include({
      run: ['/bin/echo', '10.0.0.2', '10.0.0.1', '', '${primary.bind}'],
      timeout: 180_000,
    });
    const at = variablesFor(plan!, names, Date.UTC(2026, 0, 2, 3, 4, 5));
    expect(substitute('${recoveryPoint}', at)).to.equal('2026-01-02T03:04:05.000Z');
  });

  it('a witness, and the controller itself, mean the host that is to serve', () => {
    for (const host of ['', 'mon-1', '__proto__'])
      expect(substitute('${bind}', variablesFor(plan!, { ...names, host }, 0))).to.equal('10.0.0.2');
  });

  it('in renderings the texts to be found have variables, too', () => {
    expect(renderings(plan!, variablesFor(plan!, names, 0))).to.deep.equal([
      { file: '/etc/shop.ini', replace: { '10.0.0.1': '10.0.0.2' } },
    ]);
  });

  it('a variable without a value is refused', () => {
    const variables = variablesFor(plan!, names, 0);
    for (const name of ['other', 'primary.other', 'toString', 'primary.constructor'])
      expect(() => substitute(`\${${name}}`, variables), name).to.throw('has no value');
  });
});
