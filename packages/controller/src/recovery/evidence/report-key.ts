// The key that signs reports: made once for a catalog, wrapped by the master key like the authority's.
//
// Hazard: a second key beside the first, and an auditor who knows only one. So an advisory lock lets one of several replicas make it.
//
// Invariant (evidence.db.test.ts): K1 every replica, and every later start, has the same key.

import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';

import type { Catalog } from '../../catalog/catalog.ts';
import type { MasterKey } from '../../fleet/master-key.ts';

const NAME = 'report-key';
const LOCK = 0x686f6c72;

/** Ed25519, private. Throws FAILED_PRECONDITION when the master key does not open it. */
export async function openReportKey(catalog: Catalog, masterKey: MasterKey): Promise<KeyObject> {
  const der = await catalog.transaction(async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [LOCK]);
    const kept = await client.query<{ wrapped: Buffer }>('select wrapped from controller_secret where name = $1', [
      NAME,
    ]);
    if (kept.rows[0] !== undefined) return masterKey.unwrap(NAME, kept.rows[0].wrapped);
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const made = privateKey.export({ type: 'pkcs8', format: 'der' });
    await client.query('insert into controller_secret (name, wrapped, public_part) values ($1, $2, $3)', [
      NAME,
      masterKey.wrap(NAME, made),
      publicKey.export({ type: 'spki', format: 'der' }),
    ]);
    return made;
  });
  return createPrivateKey({ key: der, type: 'pkcs8', format: 'der' });
}
