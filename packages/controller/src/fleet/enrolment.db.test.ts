import { setTimeout as sleep } from 'node:timers/promises';

import { createRpcClient } from '@holdfast/shared/rpc/channel';
import { decodeEnrolmentToken } from '@holdfast/shared/rpc/enrolment-token';
import { EnrolmentDefinition, type EnrolmentClient } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { VaultDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { expect } from 'chai';
import pg from 'pg';

import {
  codeOf,
  makeSigningRequest,
  recordKey,
  startTestController,
  type TestController,
} from '../testing/test-controller.ts';

describe('enrolment', () => {
  let test: TestController;
  let pool: pg.Pool;
  let enrolment: EnrolmentClient;
  beforeEach(async () => {
    test = await startTestController();
    pool = new pg.Pool({ ...test.database, max: 2 });
    enrolment = createRpcClient(
      EnrolmentDefinition,
      test.track({ address: test.address, caCertificatePem: test.caPem }),
    );
  });
  afterEach(async () => {
    await pool.end();
    await test.close();
  });

  const newToken = async (name: string, replace = false): Promise<Buffer> =>
    Buffer.from(decodeEnrolmentToken((await test.owner.addHost({ name, replace })).token).secret);
  const use = async (tokenSecret: Buffer, signingRequest?: Buffer): Promise<string> =>
    await codeOf(
      enrolment.enrol({
        tokenSecret,
        signingRequest: signingRequest ?? (await makeSigningRequest('x')).request,
        recordKey: recordKey(),
      }),
    );

  it('EN1 44 a token works once; a replay with another key is refused, a repetition with the same one is not', async () => {
    const secret = await newToken('web-1');
    const { request } = await makeSigningRequest('web-1');
    expect(await use(secret, request)).to.equal('none');
    expect(await use(secret)).to.equal('NOT_ALLOWED');
    expect(await use(secret, request)).to.equal('none');
  });

  it('EN1 44 two machines that use one token at once: one gets in', async () => {
    const secret = await newToken('web-1');
    const codes = await Promise.all([use(secret), use(secret), use(secret)]);
    expect(codes.toSorted()).to.deep.equal(['NOT_ALLOWED', 'NOT_ALLOWED', 'none']);
  });

  it('EN4 21 two machines that use two tokens of one host at once: one gets in, the other is refused', async () => {
    const secrets = [await newToken('web-1'), await newToken('web-1')];
    const holder = await pool.connect();
    try {
      // Both come as far as the host's row before either goes on.
      await holder.query(`begin`);
      await holder.query(`select 1 from host where name = 'web-1' for update`);
      const using = secrets.map((secret) => use(secret));
      for (let waiting = 0; waiting < 2;) {
        const { rows } = await pool.query<{ n: number }>(
          `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        );
        waiting = rows[0]?.n ?? 0;
        await sleep(5);
      }
      await holder.query('commit');
      expect((await Promise.all(using)).toSorted()).to.deep.equal(['NOT_ALLOWED', 'none']);
    } finally {
      holder.release();
    }
  });

  it('EN1 keeps no secret: neither tokens nor the domain’s key are in the catalog as they are', async () => {
    const secret = await newToken('web-1');
    const { enrolled } = await test.enrolHost('web-2');
    expect(enrolled.domainSecret.length).to.equal(32);
    const tables = ['enrolment_token', 'domain', 'controller_secret', 'api_token', 'host', 'audit'];
    for (const table of tables) {
      const { rows } = await pool.query<{ row: string }>(`select t::text as row from ${table} t`);
      const text = rows.map(({ row }) => row).join('\n');
      for (const hidden of [secret, enrolled.domainSecret]) expect(text).to.not.contain(hidden.toString('hex'));
      expect(text).to.not.contain(test.ownerToken);
    }
  });

  it('EN2 a wrong and an expired token get the same answer and change nothing', async () => {
    const secret = await newToken('web-1');
    await pool.query(`update enrolment_token set expires_at = now() - interval '1 s'`);
    const answers = [];
    for (const tried of [secret, Buffer.alloc(32), Buffer.alloc(5)]) {
      const { request } = await makeSigningRequest('x');
      const failed = enrolment.enrol({ tokenSecret: tried, signingRequest: request, recordKey: recordKey() });
      answers.push(await failed.then(() => 'in', String));
    }
    expect(new Set(answers).size).to.equal(1);
    expect((await pool.query('select state from host')).rows).to.deep.equal([{ state: 'waiting' }]);
  });

  it('makes who guesses tokens wait', async () => {
    const codes: string[] = [];
    for (let i = 0; i < 7; i++) codes.push(await use(Buffer.alloc(32, i)));
    expect(codes.at(-1)).to.equal('LIMIT_EXCEEDED');
  });

  it('refuses a request that proves no key, and the token stays good', async () => {
    const secret = await newToken('web-1');
    const { request } = await makeSigningRequest('web-1');
    const broken = Buffer.from(request);
    broken[broken.length - 5] = (broken[broken.length - 5] ?? 0) ^ 1;
    expect(await use(secret, broken)).to.equal('INVALID_ARGUMENT');
    expect(await use(secret, Buffer.from('garbage'))).to.equal('INVALID_ARGUMENT');
    expect(await use(secret, request)).to.equal('none');
  });

  it('EN3 21 a replaced host’s old certificate is refused from then on', async () => {
    const old = await test.enrolHost('web-1');
    const renewOld = createRpcClient(EnrolmentDefinition, test.track(old.target));
    const { request } = await makeSigningRequest('web-1');
    expect(await codeOf(renewOld.renew({ signingRequest: request }))).to.equal('none');
    expect(await codeOf(test.owner.addHost({ name: 'web-1' }))).to.equal('ALREADY_EXISTS');
    expect(await use(await newToken('web-1', true))).to.equal('none');
    expect(await codeOf(renewOld.renew({ signingRequest: request }))).to.be.oneOf(['NOT_ALLOWED', 'UNREACHABLE']);
    const { certificates } = await test.owner.getHost({ name: 'web-1' });
    expect(certificates.filter((certificate) => !certificate.revoked).length).to.equal(1);
  });

  it('EN3 44 no older token gives back what a replacement or a revocation took, whoever used it', async () => {
    const used = await newToken('web-1');
    const unused = await newToken('web-1');
    const { request } = await makeSigningRequest('web-1');
    expect(await use(used, request)).to.equal('none');
    expect(await use(unused), 'made for the machine that came with the other one').to.equal('NOT_ALLOWED');

    expect(await use(await newToken('web-1', true))).to.equal('none');
    expect(await use(used, request), 'the machine that was replaced').to.equal('NOT_ALLOWED');

    const again = await newToken('web-1', true);
    const second = await makeSigningRequest('web-1');
    expect(await use(again, second.request)).to.equal('none');
    await test.owner.revokeHost({ name: 'web-1' });
    expect(await use(again, second.request), 'the machine that was revoked').to.equal('NOT_ALLOWED');
    const { certificates } = await test.owner.getHost({ name: 'web-1' });
    expect(certificates.filter((certificate) => !certificate.revoked)).to.deep.equal([]);
  });

  it('44 a revoked certificate is refused with a clear word on every service', async () => {
    const host = await test.enrolHost('web-1');
    expect((await test.owner.revokeHost({ name: 'web-1' })).certificates).to.equal(1);
    const { request } = await makeSigningRequest('web-1');
    const renewal = createRpcClient(EnrolmentDefinition, test.track(host.target)).renew({ signingRequest: request });
    expect(await codeOf(renewal)).to.equal('NOT_ALLOWED');
    const grant = createRpcClient(VaultDefinition, test.track(host.target)).grantOwn({ sourceId: 'x' });
    expect(await grant.catch((error: Error) => error.message)).to.contain('was revoked');
  });

  it('44 one host’s certificate does nothing with another host’s source', async () => {
    const [a, b] = [await test.enrolHost('a'), await test.enrolHost('b')];
    const spec = { name: 'site', type: { $case: 'files' as const, value: { paths: ['/srv'] } } };
    const { source } = await test.owner.addSource({ host: 'b', spec });
    const begin = { kind: { $case: 'begin' as const, value: { sourceId: source?.id ?? '' } } };
    const attempt = async (host: typeof a): Promise<string> => {
      const vault = createRpcClient(VaultDefinition, test.track(host.target));
      const stream = vault.backup(
        (async function* () {
          yield begin;
        })(),
      );
      return await codeOf(
        (async () => {
          for await (const _ of stream) break;
        })(),
      );
    };
    expect(await attempt(a)).to.equal('NOT_FOUND');
    expect(await attempt(b)).to.equal('none');
    const grant = createRpcClient(VaultDefinition, test.track(a.target)).grantOwn({ sourceId: source?.id ?? '' });
    expect(await codeOf(grant)).to.equal('NOT_FOUND');
  });

  it('44 a host can make no operator’s call, an operator no host’s', async () => {
    const host = await test.enrolHost('a');
    const { OperatorDefinition } = await import('@holdfast/shared/rpc/gen/holdfast/v1/operator');
    const asHost = createRpcClient(OperatorDefinition, test.track(host.target), { bearerToken: test.ownerToken });
    expect(await codeOf(asHost.listHosts({}))).to.equal('UNAUTHENTICATED');
    expect(await codeOf(enrolment.renew({}))).to.equal('UNAUTHENTICATED');
  });
});
