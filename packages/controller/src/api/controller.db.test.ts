import { createRpcClient } from '@holdfast/shared/rpc/channel';
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
    expect((await get('/metrics'))[1]).to.contain('holdfast_control_streams 0');
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
