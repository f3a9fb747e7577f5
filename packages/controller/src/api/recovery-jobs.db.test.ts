import { randomUUID } from 'node:crypto';

import { encodeSection } from '@holdfast/shared/blueprint/blueprint';
import { decodeHostStep, decodeResolved } from '@holdfast/shared/recovery/host-step';
import { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import type { StepJob } from '@holdfast/shared/rpc/gen/holdfast/v1/step';
import { expect } from 'chai';

import { addSource, openRecoveryFixture, type RecoveryFixture } from '../testing/recovery-fixture.ts';
import { addressIn, jobsFor, type RecoveryJobsDeps } from './recovery-jobs.ts';
import { withPort } from './recovery-restore.ts';

const PLAN = `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {web-1: {bind: 10.0.0.1}, web-2: {bind: 10.0.0.2}}}
sources: [files, db]
services: {shop: {start: [/opt/start], stop: [/opt/stop], status: [/opt/status]}}
detect: {mode: manual, witnesses: {hosts: [mon-1, api-1], agree: 2, probe: "http://x/"}}
fence: {script: /etc/power-off}
steps:
  - {id: rebuild, type: rebuild, packages: true, users: true}
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: db, type: restore.postgres, source: db, target: /var/lib/db, port: 5499, needs: [fence]}
  - {id: db-ok, type: check.sql, source: db, query: select 1, needs: [db]}
  - {id: outside, type: check.http, from: witnesses, url: "http://\${bind}/", needs: [db-ok]}
`;

describe('the jobs of a run', () => {
  let fixture: RecoveryFixture;
  let runId: string;
  const deps = (): RecoveryJobsDeps => ({
    catalog: fixture.catalog,
    vault: { grant: async () => Buffer.from('grant'), grantLog: () => Buffer.from('log') },
    fileContent: async function* content(_domain, _snapshot, path) {
      yield encodeSection(new Map([['from', path]]));
    },
  });

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
    const web1 = fixture.hostIds.get('web-1')!;
    for (const [name, type, settings] of [
      ['db', 'postgres', [{ name: 'dsn', value: 'postgresql://holdfast@/shop?host=/run/pg' }]],
      ['server', 'blueprint', []],
    ] as const) {
      const id = await addSource(fixture.catalog, web1, fixture.domainId, name);
      const spec = SourceSpec.fromPartial({
        sourceId: id,
        name,
        type: { $case: 'engine', value: { type, settings: [...settings] } },
      });
      await fixture.catalog.pool.query('update source set spec = $2 where id = $1', [
        id,
        Buffer.from(SourceSpec.encode(spec).finish()),
      ]);
    }
    const planId = await fixture.apply(PLAN);
    runId = await fixture.start(planId, 'unplanned');
  });
  afterEach(() => fixture.close());

  const steps = async (
    step: string,
    phase: 'apply' | 'probe',
  ): Promise<{ host: string; part: string; job: StepJob }[]> => {
    const view = await fixture.view(runId);
    const names = new Map([...fixture.hostIds].map(([name, id]) => [id, name]));
    const made = await jobsFor(deps(), view, { step, attempt: 2, phase, round: 0 }, { term: 7, epoch: 1 });
    return made.map(({ part, job }) => {
      const wire = WireJob.decode(Buffer.from(job.request(randomUUID()))).kind;
      if (wire?.$case !== 'step') throw new Error('not a step');
      return { host: names.get(job.hostId) ?? '', part, job: wire.value };
    });
  };

  it('a rebuild gets the sections that it names out of the primary’s blueprint, and runs on the standby', async () => {
    const [made] = await steps('rebuild', 'apply');
    expect(made?.host).to.equal('web-2');
    const { blueprint } = decodeResolved(made!.job.resolved);
    expect(Object.keys(blueprint ?? {}).toSorted()).to.deep.equal([
      'groups',
      'packages',
      'repositories',
      'system',
      'users',
    ]);
    expect(blueprint?.packages).to.deep.equal({ from: 'packages.json' });
    expect(made!.job).to.deep.include({ attempt: 2, term: 7n, epoch: 1n, action: 'apply', sandbox: '' });
    expect(JSON.parse(made!.job.services.toString())).to.have.property('shop');
  });

  it('a question to a restored database goes where it was restored to', async () => {
    const [made] = await steps('db-ok', 'apply');
    expect(decodeResolved(made!.job.resolved).source).to.deep.equal({
      type: 'postgres',
      settings: { dsn: 'postgresql://holdfast@/shop?host=/run/pg&port=5499' },
    });
  });

  it('witnesses look from outside, each by itself, at the host that is to serve', async () => {
    const made = await steps('outside', 'apply');
    expect(made.map(({ host, part }) => `${host} ${part}`).toSorted()).to.deep.equal(['api-1 api-1', 'mon-1 mon-1']);
    for (const { job } of made) expect(decodeHostStep(job.spec)).to.include({ url: 'http://10.0.0.2/' });
  });

  it('the script that switches the old primary off runs on the other host', async () => {
    const [made] = await steps('fence', 'apply');
    expect(made?.host).to.equal('web-2');
    expect(decodeResolved(made!.job.resolved)).to.deep.equal({ script: '/etc/power-off' });
  });

  it('a drill’s sandbox gets the address that the standby binds to, however it is written, and no loopback', () => {
    expect(['10.0.0.1', '10.0.0.1:80', 'fd00::1', '[fd00::1]:80'].map(addressIn)).to.deep.equal([
      '10.0.0.1',
      '10.0.0.1',
      'fd00::1',
      'fd00::1',
    ]);
    expect(['', '127.0.0.1:8102', '::1', '[::1]:80', 'web-2', 'web-2:80', '*'].map(addressIn)).to.deep.equal(
      Array.from({ length: 7 }),
    );
  });

  it('another port goes into an address as it is written', () => {
    const dsn = (value: string, port = 6000): string | undefined => withPort([{ name: 'dsn', value }], port)[0]?.value;
    expect(dsn('postgresql://u@db:5432/shop')).to.equal('postgresql://u@db:6000/shop');
    expect(dsn('postgresql://u@db')).to.equal('postgresql://u@db:6000');
    expect(dsn('host=/run port=5432 user=u')).to.equal('host=/run port=6000 user=u');
    expect(dsn('host=/run user=u')).to.equal('host=/run user=u port=6000');
    expect(dsn('postgresql://u@[::1]:5432')).to.equal('postgresql://u@[::1]:6000');
    expect(dsn('postgresql:///shop')).to.equal('postgresql:///shop?port=6000');
    expect(withPort([{ name: 'port', value: '1' }], 2)).to.deep.equal([{ name: 'port', value: '2' }]);
    expect(withPort([{ name: 'dsn', value: 'x' }], undefined)).to.deep.equal([{ name: 'dsn', value: 'x' }]);
  });
});
