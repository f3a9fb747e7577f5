import { randomBytes } from 'node:crypto';

import { expect } from 'chai';

import { masterKeyFrom } from '../../fleet/master-key.ts';
import { openTestCatalog } from '../../testing/test-catalog.ts';
import { setSecret } from '../plans/secrets.ts';
import { planContacts } from './plan-contacts.ts';

const DOCUMENT = `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@shop.test}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
contacts: {oncall: {email: [night@shop.test]}}
sources: [files]
steps: [{id: look, type: manual, text: look}]
`;

describe('what the notifier knows of plans', () => {
  it('has the contacts of the newest revision and its secrets; of a plan that is gone or unreadable, none', async () => {
    const catalog = await openTestCatalog();
    try {
      const { pool } = catalog;
      const masterKey = masterKeyFrom(randomBytes(32));
      await pool.query(`insert into domain (id, name, managed) values ('d', 'shop', false)`);
      await pool.query(
        `insert into plan (id, domain_id, name, revision) values ('contacts', 'd', 'shop', 2), ('unreadable', 'd', 'broken', 1)`,
      );
      await pool.query(
        `insert into plan_revision (plan_id, revision, document, applied_by) values
           ('contacts', 1, $1, 'erika'), ('contacts', 2, $2, 'erika'), ('unreadable', 1, 'no plan', 'erika')`,
        [DOCUMENT.replace('night@', 'day@'), DOCUMENT],
      );
      await setSecret(pool, masterKey, { domainId: 'd', name: 'pager', value: Buffer.from('shared') });
      const { contactsOf, secret } = planContacts(pool, masterKey);
      expect(await contactsOf('contacts')).to.deep.equal({
        domainId: 'd',
        name: 'shop',
        owner: 'ops@shop.test',
        contacts: { oncall: { email: ['night@shop.test'] } },
      });
      expect(await contactsOf('gone')).to.equal(undefined);
      expect(await contactsOf('unreadable')).to.equal(undefined);
      expect((await secret('d', 'pager'))?.toString()).to.equal('shared');
      expect(await secret('d', 'other')).to.equal(undefined);
      expect(await secret('another', 'pager')).to.equal(undefined);
    } finally {
      await catalog.close();
    }
  });
});
