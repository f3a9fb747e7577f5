import { OperatorDefinition, type OperatorClient } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { expect } from 'chai';
import pg from 'pg';

import { insertOperator, insertToken, setRole } from '../fleet/operators.ts';
import type { Role } from '../fleet/roles.ts';
import { codeOf, startTestController, type TestController } from '../testing/test-controller.ts';
import { LEAST_ROLE, type OperatorCall } from './permissions.ts';

const ROLES: readonly Role[] = ['viewer', 'operator', 'approver', 'admin'];
const CALLS = Object.keys(OperatorDefinition.methods) as OperatorCall[];
const ORDER = new Map(ROLES.map((role, index) => [role, index]));

describe('permissions', () => {
  let test: TestController;
  let pool: pg.Pool;
  let ownDomain: string;
  let foreignDomain: string;

  before(async () => {
    test = await startTestController();
    pool = new pg.Pool({ ...test.database, max: 2 });
    ownDomain = (await pool.query<{ id: string }>(`select id from domain where name = 'default'`)).rows[0]?.id ?? '';
    foreignDomain = '11111111-1111-4111-8111-111111111111';
    await pool.query(`insert into domain (id, name, managed) values ($1, 'foreign', false)`, [foreignDomain]);
    await pool.query(`insert into host (id, domain_id, name, state) values ('h1', $1, 'their-host', 'enrolled')`, [
      foreignDomain,
    ]);
    await pool.query(`insert into source (id, host_id, name, spec) values ('s1', 'h1', 'their-source', '')`);
    await pool.query(
      `insert into job (id, domain_id, host_id, source_id, kind, state, request, requested_by)
       values ('22222222-2222-4222-8222-222222222222', $1, 'h1', 's1', 'backup', 'running', '', 'x')`,
      [foreignDomain],
    );
  });
  after(async () => {
    await pool.end();
    await test.close();
  });

  async function tokenFor(role: Role, domainId: string): Promise<OperatorClient> {
    const client = await pool.connect();
    try {
      const id = await insertOperator(client, `${role}-${Math.random().toString(36).slice(2)}`, undefined);
      await setRole(client, id, domainId, role);
      return test.operator(
        (await insertToken(client, { operatorId: id, label: 't', role: undefined, ttlSeconds: 600 })).token,
      );
    } finally {
      client.release();
    }
  }

  /** Makes the call with requests that name the given domain and its objects. */
  async function call(client: OperatorClient, name: OperatorCall, domain: string): Promise<string> {
    const jobId = '22222222-2222-4222-8222-222222222222';
    const request: Record<string, unknown> = {
      domain,
      name: 'their-host',
      host: 'their-host',
      source: 'their-host/their-source',
      target: '/tmp/x',
      snapshotId: Buffer.alloc(32),
      fromSnapshotId: Buffer.alloc(32),
      toSnapshotId: Buffer.alloc(32),
      pattern: '*',
      jobId,
      operator: 'admin',
      role: 'viewer',
      roles: [{ domain, role: 'viewer' }],
      id: jobId,
    };
    if (name === 'addHost' || name === 'addOperator') request['name'] = 'a-new-name';
    const answer = (client[name] as (request: unknown) => Promise<unknown> | AsyncIterable<unknown>)(request);
    if (Symbol.asyncIterator in answer) {
      return await codeOf(
        (async () => {
          for await (const _ of answer) break;
        })(),
      );
    }
    return await codeOf(answer);
  }

  it('covers every call that the protocol has', () => {
    expect(CALLS.length).to.be.greaterThan(25);
    expect(Object.keys(LEAST_ROLE).toSorted()).to.deep.equal(CALLS.toSorted());
  });

  it('PM1 nobody without a token gets further than login', async () => {
    for (const name of CALLS) {
      if (name === 'login') continue;
      expect(await call(test.operator(), name, 'default'), name).to.equal('UNAUTHENTICATED');
      expect(await call(test.operator('hfo_wrong'), name, 'default'), name).to.equal('UNAUTHENTICATED');
    }
  });

  for (const role of ROLES) {
    it(`PM1 a ${role} is refused exactly the calls above the role, whatever else is wrong with them`, async () => {
      const client = await tokenFor(role, ownDomain);
      for (const name of CALLS) {
        const least = LEAST_ROLE[name];
        if (least === 'anyone') continue;
        const allowed = (ORDER.get(role) ?? 0) >= (ORDER.get(least) ?? 0);
        const code = await call(client, name, 'default');
        // An admin of one domain of two: a new one is for those who are it everywhere.
        if (name === 'addDomain') expect(code, name).to.equal('NOT_ALLOWED');
        else if (allowed) expect(code, name).to.not.be.oneOf(['NOT_ALLOWED', 'UNAUTHENTICATED', 'INTERNAL']);
        else expect(code, name).to.equal('NOT_ALLOWED');
      }
    });

    it(`PM2 PM3 a ${role} of one domain can't reach, nor make out, another domain's objects`, async () => {
      const client = await tokenFor(role, ownDomain);
      const withoutDomain = new Set<OperatorCall>([
        'login',
        'whoAmI',
        'listOperators',
        'addApiToken',
        'revokeApiToken',
        'addDomain',
        'listDomains',
      ]);
      for (const name of CALLS) {
        if (withoutDomain.has(name)) continue;
        const code = await call(client, name, 'foreign');
        expect(code, name).to.be.oneOf(['NOT_FOUND', 'NOT_ALLOWED']);
        expect(await call(client, name, 'no-such-domain'), `${name}: the same answer`).to.equal(code);
      }
    });
  }

  it('PM3 an admin elsewhere sees nothing of this domain, and the walk changed nothing there', async () => {
    const client = await tokenFor('admin', foreignDomain);
    expect(await call(client, 'listHosts', 'default')).to.equal('NOT_FOUND');
    const { rows } = await pool.query(`select state from job where id like '22222222%'`);
    expect(rows).to.deep.equal([{ state: 'running' }]);
    const kept = await pool.query(`select 1 from source where id = 's1' and removed_at is null`);
    expect(kept.rowCount).to.equal(1);
  });

  it('a token with a ceiling may do no more than the ceiling', async () => {
    const made = await test.owner.addApiToken({ label: 'reader', role: 'viewer' });
    const reader = test.operator(made.token);
    expect(await codeOf(reader.listHosts({ domain: 'default' }))).to.equal('none');
    expect(await codeOf(reader.addHost({ domain: 'default', name: 'x' }))).to.equal('NOT_ALLOWED');
    expect(await codeOf(reader.addApiToken({ label: 'more', role: 'admin' }))).to.equal('NOT_ALLOWED');
    const derived = await reader.addApiToken({ label: 'the same' });
    expect(await codeOf(test.operator(derived.token).addHost({ domain: 'default', name: 'x' }))).to.equal(
      'NOT_ALLOWED',
    );
    await test.owner.revokeApiToken({ id: made.id });
    expect(await codeOf(reader.listHosts({ domain: 'default' }))).to.equal('UNAUTHENTICATED');
  });
});
