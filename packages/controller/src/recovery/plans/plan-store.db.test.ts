import { expect } from 'chai';

import { openTestCatalog } from '../../testing/test-catalog.ts';
import { appliedPlan, appliedPlans, plansAt } from './plan-store.ts';

// A version before this one let any step run ahead.
const ACCEPTED = `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@shop.test}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
steps: [{id: look, type: manual, text: look, ahead: true}]
`;

describe('plans that were applied', () => {
  it('are carried out also when this version would refuse them, and say what it would refuse; what is no plan is told', async () => {
    const catalog = await openTestCatalog();
    try {
      const { pool } = catalog;
      await pool.query(`insert into domain (id, name, managed) values ('d', 'shop', false)`);
      await pool.query(
        `insert into plan (id, domain_id, name, revision) values ('accepted', 'd', 'shop', 1), ('broken', 'd', 'broken', 1)`,
      );
      await pool.query(
        `insert into plan_revision (plan_id, revision, document, applied_by) values ('accepted', 1, $1, 'erika'), ('broken', 1, 'no plan', 'erika')`,
        [ACCEPTED],
      );
      const { plan, findings } = await appliedPlan(pool, 'accepted');
      expect(plan.steps.map(({ id }) => id)).to.deep.equal(['look']);
      expect(findings.map(({ line, field }) => [line, field])).to.deep.equal([[7, 'steps[0].ahead']]);
      const unreadable: string[] = [];
      const all = await appliedPlans(pool, (_, name) => void unreadable.push(name));
      expect(all.map(({ name }) => name)).to.deep.equal(['shop']);
      expect(unreadable).to.deep.equal(['broken']);
      const wanted = ['accepted', 'broken', 'gone'].map((planId) => ({ planId, revision: 1 }));
      for (let times = 0; times < 2; times++) {
        const plans = await plansAt(pool, wanted);
        expect([...plans].map(([id, { metadata }]) => [id, metadata.name])).to.deep.equal([['accepted', 'shop']]);
      }
    } finally {
      await catalog.close();
    }
  });
});
