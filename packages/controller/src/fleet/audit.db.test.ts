import { randomBytes } from 'node:crypto';

import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { appendAudit, verifyAudit } from './audit.ts';
import { domainSecret, listDomains } from './domains.ts';
import { prepareFleet } from './first-start.ts';
import { masterKeyFrom } from './master-key.ts';
import { parseRecoverySheet, recoverySheet } from './recovery-sheet.ts';

describe('audit', () => {
  let catalog: Catalog;
  beforeEach(async () => (catalog = await openTestCatalog()));
  afterEach(() => catalog.close());

  const append = (subject: string): Promise<void> =>
    catalog.transaction((client) => appendAudit(client, { domainId: null, actor: 'test', action: 'x', subject }));

  it('AU1 concurrent changes make one chain without gaps', async () => {
    await Promise.all(Array.from({ length: 25 }, (_, i) => append(String(i))));
    expect(await verifyAudit(catalog.pool)).to.equal(undefined);
    const { rows } = await catalog.pool.query('select max(sequence) as most, count(*) as n from audit');
    expect(rows).to.deep.equal([{ most: 25, n: 25 }]);
  });

  for (const [what, sql, first] of [
    ['changed', `update audit set subject = 'forged' where sequence = 3`, 3],
    ['removed', 'delete from audit where sequence = 2', 2],
    ['given another time', `update audit set at = at + interval '1 h' where sequence = 4`, 4],
  ] as const) {
    it(`AU2 a row that was ${what} is found`, async () => {
      for (let i = 0; i < 5; i++) await append(String(i));
      await catalog.pool.query(sql);
      expect(await verifyAudit(catalog.pool)).to.equal(first);
    });
  }
});

describe('first start', () => {
  it('makes one authority, one domain and one owner, however many replicas start at once', async () => {
    const catalog = await openTestCatalog();
    const key = masterKeyFrom(randomBytes(32));
    const tokens: string[] = [];
    const starts = await Promise.all(
      Array.from({ length: 3 }, () => prepareFleet(catalog, key, (token) => tokens.push(token))),
    );
    expect(new Set(starts.map(({ authority }) => authority.fingerprint)).size).to.equal(1);
    expect(tokens.length).to.equal(1);
    const other = prepareFleet(catalog, masterKeyFrom(randomBytes(32)), () => undefined);
    expect(await other.catch((error: Error) => error.message)).to.contain('does not open');

    const [domain] = await listDomains(catalog.pool);
    if (domain === undefined) throw new Error('no domain');
    const secret = await domainSecret(catalog.pool, key, domain.id);
    const sheet = recoverySheet(domain, secret ?? Buffer.alloc(0), new Date(0));
    expect(parseRecoverySheet(sheet, 'a test')).to.include({ id: domain.id }).and.deep.include({ secret });
    await catalog.close();
  });
});
