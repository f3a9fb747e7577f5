import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { MACHINES, SERVICE_ADDRESS } from './machines.ts';
import { PROTECTED_UNITS } from './units.ts';

describe('the lab’s plan', () => {
  const { plan, findings } = checkPlan(readFileSync(new URL('shop.plan.yaml', import.meta.url), 'utf8'));

  it('is a plan with which nothing is wrong', () => {
    expect(findings).to.deep.equal([]);
  });

  it('speaks of hosts, addresses and units that the lab has', () => {
    const address = (name: string): string | undefined => MACHINES.find((known) => known.name === name)?.address;
    for (const name of plan!.placement.hosts) expect(plan!.placement.vars[name]?.['bind']).to.equal(address(name));
    const witnesses = plan!.detect.witnesses?.hosts ?? [];
    expect(witnesses.map(address)).to.not.include(undefined);
    expect(JSON.stringify(plan!.steps)).to.include(`"${SERVICE_ADDRESS}/24"`);
    expect(Object.keys(plan!.services)).to.have.members(PROTECTED_UNITS);
  });
});
