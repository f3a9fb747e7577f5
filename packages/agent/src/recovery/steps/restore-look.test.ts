import { expect } from 'chai';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '@holdfast/shared/base/byte-string';
import type { HostStepSpec, ResolvedData } from '@holdfast/shared/recovery/host-step';
import { parsePlan } from '@holdfast/shared/recovery/plan';
import { Marks } from '../warm/marks.ts';
import type { StepReport } from '../contract.ts';
import { stepHost } from './testing/step-host.ts';

describe('a look at where a restore goes', () => {
  let dir: string;
  let target: string;
  const SPEC = restoreStep();
  const look = (given: Partial<NonNullable<ResolvedData['restore']>> = {}): Promise<StepReport> => {
    const restore = {
      application: 'shop',
      sourceId: 'files',
      places: [target],
      bytes: 1000,
      warm: true,
      takeOver: false,
      ...given,
    };
    return stepHost(join(dir, 'state')).do('precheck', SPEC, { resolved: { restore } });
  };

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'look-'));
    target = join(dir, 'srv', 'shop');
    mkdirSync(join(dir, 'state'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('is well for a place that is empty, or is not there, and makes nothing', async () => {
    expect((await look()).message).to.match(/: there is room for 0\.0 GB, \d+\.\d GB free$/);
    mkdirSync(target, { recursive: true });
    expect(await look()).to.include({ state: 'ok' });
    expect(readdirSync(join(dir, 'state'))).to.not.include('warm');
  });

  it('names a place that holds something which is no copy of the plan’s, before a failover does', async () => {
    mkdirSync(target, { recursive: true });
    writeFileSync(join(target, 'somebody'), 'else');
    const found = await look();
    expect(found).to.include({ state: 'failed' });
    expect(found.message).to.contain(target);
    expect(found.remedy).to.match(/Empty that place/);
    expect(await look({ takeOver: true })).to.include({ state: 'ok' });
    expect(await look({ warm: false })).to.include({ state: 'ok' });
  });

  it('is well for the plan’s own copy, which needs no more room, and not for another plan’s', async () => {
    const order = { application: 'shop', sourceId: 'files', action: 'keep' as const, takeOver: false, snapshotId: '' };
    new Marks(join(dir, 'state')).claim(order, [fromText(target)]);
    mkdirSync(target, { recursive: true });
    writeFileSync(join(target, 'copied'), 'bytes');
    const kept = await look({ bytes: 1e18 });
    expect(kept).to.include({ state: 'ok' });
    expect(kept.message).to.match(/: a warm copy is kept there, \d+\.\d GB free$/);
    expect(await look({ application: 'other' })).to.include({ state: 'failed' });
  });

  it('says how much is free when that is too little', async () => {
    const found = await look({ bytes: 1e18 });
    expect(found).to.include({ state: 'failed' });
    expect(found.message).to.match(/ GB free, and what is restored there has 1000000000\.0 GB$/);
  });

  it('is all that a host does of it as a step', async () => {
    const done = await stepHost(join(dir, 'state')).do('apply', SPEC);
    expect(done).to.include({ state: 'failed' });
  });
});

function restoreStep(): Extract<HostStepSpec, { type: 'restore.files' }> {
  const { plan } = parsePlan(`
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 1d}
placement: {hosts: [web-1, web-2]}
sources: [files]
steps: [{id: files, type: restore.files, source: files}]
`);
  const [step] = plan?.steps ?? [];
  if (step?.type !== 'restore.files') throw new Error('no such step');
  return step;
}
