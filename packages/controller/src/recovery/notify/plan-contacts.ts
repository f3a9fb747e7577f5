// What the notifier needs to know of plans: the contacts of the newest revision, and the secrets that sign webhooks.
//
// Tested in plan-contacts.db.test.ts.

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

import type { MasterKey } from '../../fleet/master-key.ts';
import { appliedPlan } from '../plans/plan-store.ts';
import { readSecrets } from '../plans/secrets.ts';
import type { DeliverDeps } from './deliver.ts';

export function planContacts(pool: pg.Pool, masterKey: MasterKey): Pick<DeliverDeps, 'contactsOf' | 'secret'> {
  return {
    async contactsOf(planId) {
      try {
        const { domainId, name, plan } = await appliedPlan(pool, planId);
        return { domainId, name, owner: plan.metadata.owner, contacts: plan.contacts };
      } catch (error) {
        // Of a plan that is gone, or that can't be read any more, only the controller's contacts are known.
        const { code } = toHoldfastError(error);
        if (code === 'NOT_FOUND' || code === 'FAILED_PRECONDITION') return undefined;
        throw error;
      }
    },
    secret: async (domainId, name) => (await readSecrets(pool, masterKey, domainId, [name])).get(name),
  };
}
