// A catalog whose calls can fail, or after whose death nothing reaches the database any more.

import type { Catalog } from '../catalog/catalog.ts';
import type { Faults } from './faults.ts';

/** Counts queries outside transactions and, for each transaction, the moments before its COMMIT and after it. */
export function faultyCatalog(catalog: Catalog, faults: Faults): Pick<Catalog, 'pool' | 'transaction'> {
  const step = (call: string): void => {
    const error = faults.next(call);
    if (error !== undefined) throw error;
  };
  const query = async (...args: Parameters<typeof catalog.pool.query>): Promise<unknown> => {
    step('query');
    return catalog.pool.query(...args);
  };
  // Only `query` is used of the pool; the rest is inherited.
  const pool = Object.assign(Object.create(catalog.pool) as typeof catalog.pool, { query });
  return {
    pool,
    transaction: async (work) => {
      step('begin');
      const result = await catalog.transaction(async (client) => {
        const value = await work(client);
        step('commit');
        return value;
      });
      step('committed');
      return result;
    },
  };
}
