import { randomBytes } from 'node:crypto';

import type { RunFacts } from '@holdfast/shared/recovery/report';
import { isSigned } from '@holdfast/shared/recovery/report-signature';
import { expectRejection } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';

import { masterKeyFrom } from '../../fleet/master-key.ts';
import { openTestCatalog } from '../../testing/test-catalog.ts';
import { openEvidence } from './evidence.ts';

const facts: RunFacts = {
  controllerVersion: '0.1.0',
  domain: 'shop',
  plan: {
    id: 'p',
    name: 'shop',
    owner: 'ops',
    revision: 1,
    appliedAtMs: 1,
    appliedBy: 'erika',
    document: 'x',
    rtoMs: 1,
    rpoMs: 1,
  },
  run: {
    id: 'r',
    mode: 'drill',
    state: 'done',
    reason: '',
    fromHost: 'web-1',
    toHost: 'web-2',
    epoch: 1,
    startedBy: 'erika',
    startedAtMs: 2,
    finishedAtMs: 3,
    recoveryPointMs: undefined,
    moments: {},
  },
  steps: [],
  events: [],
};

describe('evidence', () => {
  let catalog: Awaited<ReturnType<typeof openTestCatalog>>;
  const masterKey = masterKeyFrom(randomBytes(32));

  beforeEach(async () => {
    catalog = await openTestCatalog();
    await catalog.pool.query(`insert into domain (id, name, managed) values ('d', 'shop', false)`);
  });
  afterEach(() => catalog.close());

  it('K1 replicas that start at once, and later starts, sign with one key', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => openEvidence(catalog, masterKey)));
    const keys = new Set(
      [...all, await openEvidence(catalog, masterKey)].map(({ publicKey }) => publicKey.toString('hex')),
    );
    expect(keys.size).to.equal(1);
    expect([...keys][0]).to.have.length(64);
    await expectRejection(openEvidence(catalog, masterKeyFrom(randomBytes(32))), 'FAILED_PRECONDITION');
  });

  it('V1 a report is signed once: what is sealed later is what was sealed first', async () => {
    const evidence = await openEvidence(catalog, masterKey);
    expect(await evidence.sealed('r')).to.equal(undefined);
    const first = await evidence.seal('d', facts);
    const again = await evidence.seal('d', { ...facts, run: { ...facts.run, startedBy: 'somebody else' } });
    expect(again).to.deep.equal(first);
    const kept = await evidence.sealed('r');
    expect(kept).to.deep.equal(first);
    expect(isSigned(kept!)).to.equal(true);
  });

  it('a report of a run that goes on has no signature; one that is rolled back leaves nothing', async () => {
    const evidence = await openEvidence(catalog, masterKey);
    expect(evidence.draft(facts).signature).to.have.length(0);
    const failing = catalog.transaction(async (client) => {
      await evidence.seal('d', facts, client);
      throw new Error('rolled back');
    });
    expect(await failing.catch((error: Error) => error.message)).to.equal('rolled back');
    expect(await evidence.sealed('r')).to.equal(undefined);
  });
});
