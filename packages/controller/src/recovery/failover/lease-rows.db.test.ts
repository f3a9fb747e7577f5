import { expect } from 'chai';
import fc from 'fast-check';
import { applyToRow, type LeaseRow, type RowOperation } from '@holdfast/shared/failover/lease-row';

import { catalogIdentity } from '../../catalog/catalog-identity.ts';
import { openTestCatalog } from '../../testing/test-catalog.ts';
import { addApplication } from './testing/application-fixture.ts';
import { holdTerm } from '../runs/transitions.ts';
import { catalogIsSynchronous, changeLease, readLease } from './lease-rows.ts';

type TestCatalog = Awaited<ReturnType<typeof openTestCatalog>>;

const number = fc.integer({ min: 0, max: 3 });
const host = fc.constantFrom('h1', 'h2', 'h3');
const operations: fc.Arbitrary<RowOperation> = fc.oneof(
  fc.record({ kind: fc.constant('grant'), host, epoch: number }),
  fc.record({ kind: fc.constant('beat'), term: number }),
  fc.record({ kind: fc.constant('drive'), fromTerm: number, driver: fc.constantFrom('a', 'b') }),
  fc.record({ kind: fc.constant('disarm'), term: number, above: number }),
  fc.record({ kind: fc.constant('arm'), term: number, serial: number }),
  fc.record({ kind: fc.constant('withdraw'), term: number, grantSeq: number }),
  fc.record({ kind: fc.constant('resume'), term: number, attempt: number }),
  fc.record({ kind: fc.constant('order'), term: number, attempt: number }),
  fc.record({ kind: fc.constant('person-order'), term: number }),
  fc.record({ kind: fc.constant('refused'), term: number, attempt: number }),
  fc.record({ kind: fc.constant('promoted'), host, epoch: number }),
  fc.record({
    kind: fc.constant('verify'),
    term: number,
    primary: fc.constant('h2'),
    standby: fc.constant('h1'),
    epoch: number,
    nextEpoch: fc.integer({ min: 4, max: 9 }),
    above: number,
  }),
  fc.record({
    kind: fc.constant('override'),
    term: number,
    dead: fc.constant('h2'),
    survivor: fc.constant('h1'),
    epoch: number,
    nextEpoch: fc.integer({ min: 4, max: 9 }),
    above: number,
    goesOn: fc.boolean(),
  }),
) as fc.Arbitrary<RowOperation>;

describe('the lease row in the catalog', function () {
  this.timeout(60_000);
  let catalog: TestCatalog;
  before(async () => (catalog = await openTestCatalog()));
  after(() => catalog.close());

  it('LR1: any row of operations leaves what the pure function leaves, on a catalog of this identity and of another', async () => {
    const actual = await catalogIdentity(catalog.pool);
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(operations, fc.integer({ min: 0, max: 9 })), { minLength: 1, maxLength: 25 }),
        fc.boolean(),
        async (steps, rolledBack) => {
          const planId = await addApplication(catalog, `plan-${(runs += 1)}`, ['h1', 'h2']);
          if (rolledBack)
            await catalog.pool.query(`update application set identity = 'old/1' where plan_id = $1`, [planId]);
          let expected: LeaseRow = (await readLease(catalog, planId))!.row;
          for (const [operation, chance] of steps) {
            const assumed = chance === 0 ? 'other/1' : actual;
            const after = applyToRow(expected, operation, assumed, actual);
            const answer = await changeLease(catalog, planId, assumed, operation);
            expect(answer.ok).to.equal(after !== undefined);
            expected = after ?? expected;
            expect(answer.row).to.deep.equal(expected);
            expect((await readLease(catalog, planId))?.row).to.deep.equal(expected);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('LR2: of two replicas that take over at once, one does; of a grant and a withdrawal, whichever comes first', async () => {
    const identity = await catalogIdentity(catalog.pool);
    const planId = await addApplication(catalog, 'raced', ['h1', 'h2']);
    const taken = await Promise.all(
      Array.from({ length: 8 }, (_, at) =>
        changeLease(catalog, planId, identity, { kind: 'drive', fromTerm: 1, driver: `r${at}` }),
      ),
    );
    expect(taken.filter(({ ok }) => ok)).to.have.length(1);
    await catalog.pool.query('update application set disarmed = 0 where plan_id = $1', [planId]);
    for (let round = 0; round < 10; round++) {
      const { row } = (await readLease(catalog, planId))!;
      const [withdrawn, granted] = await Promise.all([
        changeLease(catalog, planId, identity, { kind: 'withdraw', term: row.term, grantSeq: row.grantSeq }),
        changeLease(catalog, planId, identity, { kind: 'grant', host: row.primary, epoch: row.epoch }),
      ]);
      expect(withdrawn.ok).to.not.equal(granted.ok);
      if (withdrawn.ok) {
        const { term, attempt } = withdrawn.row;
        await changeLease(catalog, planId, identity, { kind: 'resume', term, attempt });
      }
    }
  });

  it('LR4: a replica that is paused in the middle of a write is replaced all the same, and its write comes to nothing', async () => {
    const identity = await catalogIdentity(catalog.pool);
    const planId = await addApplication(catalog, 'paused', ['h1', 'h2']);
    await changeLease(catalog, planId, identity, { kind: 'drive', fromTerm: 1, driver: 'paused' });
    const taken = Promise.withResolvers<Awaited<ReturnType<typeof changeLease>>>();
    const written = catalog.transaction(async (client) => {
      await holdTerm(client, planId, { replica: 'paused', term: 2 });
      changeLease(catalog, planId, identity, { kind: 'drive', fromTerm: 2, driver: 'other' }).then(
        taken.resolve,
        taken.reject,
      );
      await taken.promise;
      await client.query(`update application set driver = 'paused' where plan_id = $1`, [planId]);
    });
    const [answer, error] = await Promise.all([taken.promise, written.catch((thrown: unknown) => thrown)]);
    expect(answer).to.include({ ok: true });
    expect(error).to.be.an('error');
    expect((await readLease(catalog, planId))?.row).to.include({ driver: 'other', term: 3 });
  });

  it('a catalog without standbys is synchronous; what it keeps of no application is nothing', async () => {
    expect(await catalogIsSynchronous(catalog.pool)).to.equal(true);
    expect(await readLease(catalog, 'none')).to.equal(undefined);
  });
});
