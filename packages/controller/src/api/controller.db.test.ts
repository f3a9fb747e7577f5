import { createRpcClient } from '@holdfast/shared/rpc/channel';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { expect } from 'chai';
import { HealthDefinition } from 'nice-grpc-server-health';

import { codeOf, startTestController, type TestController } from '../testing/test-controller.ts';
import { addReflection } from './reflection.ts';
import { checkSourceSpec } from './source-spec.ts';

const SPEC = { name: 'site', type: { $case: 'files' as const, value: { paths: ['/srv/site'] } } };

describe('a controller', () => {
  let test: TestController;
  before(async () => (test = await startTestController()));
  after(() => test.close());

  it('answers health over gRPC and HTTP, metrics over HTTP, and nothing else there', async () => {
    const channel = test.track({ address: test.address, caCertificatePem: test.caPem });
    expect((await createRpcClient(HealthDefinition, channel).check({ service: '' })).status).to.equal(1);
    const get = async (path: string, method = 'GET'): Promise<[number, string]> => {
      const answer = await fetch(`http://127.0.0.1:${test.controller.metricsPort}${path}`, { method });
      return [answer.status, await answer.text()];
    };
    expect(await get('/healthz')).to.deep.equal([200, 'ok\n']);
    expect((await get('/metrics'))[1])
      .to.contain('holdfast_control_streams 0')
      .and.contain('holdfast_vault_serving 1');
    expect((await get('/../../etc/passwd'))[0]).to.equal(404);
    expect((await get('/metrics', 'POST'))[0]).to.equal(405);
  });

  it('describes itself by reflection', () => {
    const added: string[] = [];
    const add = (definition: object): void => {
      for (const method of Object.values(definition)) added.push(String(Reflect.get(method, 'path')));
    };
    expect(addReflection({ add })).to.equal(true);
    expect(added).to.include('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo');
    expect(addReflection({ add }, '/nowhere')).to.equal(false);
  });

  it('keeps sources: adds, lists, refuses doubles, removes, and goes on with one that is added again', async () => {
    await test.enrolHost('web-1');
    const { source } = await test.owner.addSource({ host: 'web-1', spec: SPEC });
    expect(source).to.include({ host: 'web-1', name: 'site', type: 'files' });
    expect(source?.spec?.sourceId).to.equal(source?.id);
    expect(await codeOf(test.owner.addSource({ host: 'web-1', spec: SPEC }))).to.equal('ALREADY_EXISTS');
    expect((await test.owner.listSources({})).sources.map(({ name }) => name)).to.deep.equal(['site']);
    await test.owner.removeSource({ source: 'web-1/site' });
    expect(await codeOf(test.owner.getSource({ source: 'web-1/site' }))).to.equal('NOT_FOUND');
    // Its snapshots are still found under its name, and a source added again under it goes on with them.
    expect(await codeOf(test.owner.listSnapshots({ source: 'web-1/site' }))).to.equal('none');
    expect(await codeOf(test.owner.startBackup({ source: 'web-1/site' }))).to.equal('NOT_FOUND');
    const { source: again } = await test.owner.addSource({ host: 'web-1', spec: SPEC });
    expect(again?.id).to.equal(source?.id);
    expect(await codeOf(test.owner.addSource({ host: 'web-1', spec: SPEC }))).to.equal('ALREADY_EXISTS');
  });

  it('changes what was named of a source: it stays the same source, the change is audited, and its agent hears of it', async () => {
    const host = await test.enrolHost('web-5');
    const told = Promise.withResolvers<void>();
    const agent = test.control(host).connect(
      (async function* hello() {
        yield { kind: { $case: 'hello' as const, value: { protocolMin: 1, protocolMax: 1, processId: 'p' } } };
        await told.promise;
      })(),
    );
    const lists: (readonly string[] | undefined)[] = [];
    const listening = (async () => {
      for await (const { kind } of agent) {
        if (kind?.$case !== 'sources') continue;
        const type = kind.value.sources[0]?.type;
        lists.push(type?.$case === 'files' ? type.value.excludes : undefined);
        if (lists.at(-1)?.length === 1) told.resolve();
      }
    })();
    const limited = { ...SPEC, limitBytesPerSecond: 7n };
    const { source: added } = await test.owner.addSource({ host: 'web-5', spec: limited });
    const { source: changed } = await test.owner.setSource({
      source: 'web-5/site',
      spec: { type: { $case: 'files', value: { excludes: ['*.log'] } } },
      fields: ['excludes'],
    });
    await listening;
    expect(lists.at(-1)).to.deep.equal(['*.log']);
    expect(changed?.id).to.equal(added?.id);
    expect(changed?.spec).to.deep.include({ name: 'site', sourceId: added?.id, limitBytesPerSecond: 7n });
    expect(changed?.spec?.type?.value).to.deep.include({ paths: ['/srv/site'], excludes: ['*.log'] });
    const { entries } = await test.owner.listAudit({});
    expect(entries.map(({ action, subject }) => `${action} ${subject}`)).to.include(
      'source.set web-5/site: excludes [] → ["*.log"]',
    );
    const bad = { type: { $case: 'files' as const, value: { paths: ['relative'] } } };
    expect(await codeOf(test.owner.setSource({ source: 'web-5/site', spec: bad, fields: ['paths'] }))).to.equal(
      'INVALID_ARGUMENT',
    );
    expect(await codeOf(test.owner.setSource({ source: 'web-5/none', spec: {}, fields: ['paths'] }))).to.equal(
      'NOT_FOUND',
    );
  });

  it('suggests the names of hosts and sources that may have been meant, of the same domain alone', async () => {
    await test.enrolHost('mail-1');
    await test.owner.addSource({ host: 'mail-1', spec: SPEC });
    const hintOf = async (work: Promise<unknown>): Promise<unknown> =>
      await work.then(
        () => 'found',
        (error: unknown) => (error instanceof HoldfastError ? error.hint : error),
      );
    expect(await hintOf(test.owner.getHost({ name: 'mial-1' }))).to.equal('Did you mean mail-1?');
    expect(await hintOf(test.owner.getHost({ name: 'nothing-like-it' }))).to.equal('See: holdfast host ls');
    expect(await hintOf(test.owner.startBackup({ source: 'mail-1/sit' }))).to.equal('Did you mean mail-1/site?');
    expect(await hintOf(test.owner.getSource({ source: 'mail/site' }))).to.contain('mail-1/site');
  });

  it('4 takes no path and no hook that is not plain', () => {
    const files = (paths: string[]) => ({ ...SPEC, type: { $case: 'files' as const, value: { paths } } });
    const base = { sourceId: '', hooks: undefined, limitBytesPerSecond: 0n, compression: undefined };
    const fill = (paths: string[]) => ({
      oneFileSystem: false,
      excludeCaches: false,
      continuous: false,
      scanEverySeconds: 0,
      excludes: [],
      includes: [],
      paths,
    });
    for (const path of ['relative', '/a/../b', '/a\0b', '', `/${'x'.repeat(5000)}`]) {
      const spec = { ...base, ...files([path]), type: { $case: 'files' as const, value: fill([path]) } };
      expect(() => checkSourceSpec(spec), path.slice(0, 20)).to.throw(/not absolute/);
    }
    const hooks = { before: ['sh'], after: [], timeoutSeconds: 0, requireBefore: false };
    const hooked = { ...base, name: 'x', hooks, type: { $case: 'files' as const, value: fill(['/a']) } };
    expect(() => checkSourceSpec(hooked)).to.throw(/hook/);
  });
});
