// What the first start of a controller makes, and every later start finds: the authority, the default domain, an owner.
//
// Hazards: two replicas that start at once on an empty catalog (an advisory lock lets one of them make things); a default
// credential (there is none: the owner's token is random and goes to a file that only the controller's user can read).
//
// Tested in audit.db.test.ts.

import type { Catalog } from '../catalog/catalog.ts';
import { appendAudit } from './audit.ts';
import { createAuthority, openAuthority, type CertificateAuthority } from './certificate-authority.ts';
import { DEFAULT_DOMAIN, ensureManagedDomain } from './domains.ts';
import type { MasterKey } from './master-key.ts';
import { insertOperator, insertToken, setRole } from './operators.ts';

const LOCK = 0x686f6c65;
const AUTHORITY_KEY = 'authority-key';
export const OWNER = 'admin';
const OWNER_TOKEN_TTL_S = 366 * 86_400;

export interface FirstStart {
  readonly authority: CertificateAuthority;
}

/** @param saveOwnerToken called before the account is there for good; called again if that fails */
export async function prepareFleet(
  catalog: Catalog,
  masterKey: MasterKey,
  saveOwnerToken: (token: string) => void,
): Promise<FirstStart> {
  return await catalog.transaction(async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [LOCK]);
    const kept = await client.query<{ wrapped: Buffer; public_part: Buffer }>(
      'select wrapped, public_part from controller_secret where name = $1',
      [AUTHORITY_KEY],
    );
    const row = kept.rows[0];
    if (row !== undefined) {
      return { authority: await openAuthority(row.public_part, masterKey.unwrap(AUTHORITY_KEY, row.wrapped)) };
    }

    const made = await createAuthority(new Date());
    await client.query('insert into controller_secret (name, wrapped, public_part) values ($1, $2, $3)', [
      AUTHORITY_KEY,
      masterKey.wrap(AUTHORITY_KEY, made.keyDer),
      made.certificateDer,
    ]);
    const domain = await ensureManagedDomain(client, masterKey, DEFAULT_DOMAIN);
    const operatorId = await insertOperator(client, OWNER, undefined);
    await setRole(client, operatorId, domain.id, 'admin');
    const token = { operatorId, label: 'first start', role: undefined, ttlSeconds: OWNER_TOKEN_TTL_S };
    saveOwnerToken((await insertToken(client, token)).token);
    await appendAudit(client, {
      domainId: null,
      actor: 'controller',
      action: 'controller.first-start',
      subject: OWNER,
    });
    return { authority: await openAuthority(made.certificateDer, made.keyDer) };
  });
}
