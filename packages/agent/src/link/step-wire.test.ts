import { expect } from 'chai';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { encodeHostStep, encodeResolved } from '@holdfast/shared/recovery/host-step';
import { stepSchema } from '@holdfast/shared/recovery/step-types';
import { StepJob } from '@holdfast/shared/rpc/gen/holdfast/v1/step';
import { stepFromWire, stepOutcomeToWire } from './step-wire.ts';

const spec = stepSchema.parse({ id: 'migrate', type: 'command', run: ['/opt/shop/migrate'], timeout: '3m' });
const wire = (rest: Partial<StepJob> = {}): StepJob => ({
  ...StepJob.fromPartial({
    application: 'plan-1',
    plan: 'shop',
    run: '0190-ab',
    step: 'migrate',
    attempt: 1,
    term: 3n,
    epoch: 2n,
    action: 'apply',
    spec: encodeHostStep(spec),
    secrets: [{ name: 'db-password', value: Buffer.from('hunter22') }],
    services: Buffer.from('{"shop":{"start":["/a"],"stop":["/b"],"status":["/c"]}}'),
    resolved: encodeResolved({ source: { type: 'postgres', settings: { dsn: 'host=/run' } } }),
  }),
  ...rest,
});

describe('steps on the wire', () => {
  it('takes a step as the plan says it, with what was looked up for it', () => {
    const step = stepFromWire(wire());
    expect(step).to.deep.include({ action: 'apply', spec, attempt: 1, term: 3, epoch: 2, timeoutMs: 600_000 });
    expect(step.secrets.get('db-password')?.toString()).to.equal('hunter22');
    expect(step.services).to.have.property('shop');
    expect(step.resolved.source?.type).to.equal('postgres');
  });

  it('refuses what is not understood to the last field, and ids that lead elsewhere', () => {
    const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
    const refused: Partial<StepJob>[] = [
      { action: 'run' },
      { action: '' },
      { run: '../../etc' },
      { run: '..' },
      { run: '' },
      { step: 'other' },
      { attempt: 0 },
      { application: 'a/b' },
      { spec: Buffer.from('{') },
      { spec: json({ ...spec, extra: true }) },
      { spec: json({ ...spec, type: 'shell' }) },
      { spec: json({ ...spec, run: '/opt/shop/migrate' }) },
      { spec: Buffer.alloc(300 * 1024, ' ') },
      { services: json({ shop: { start: ['/a'] } }) },
      { resolved: json({ password: 'x' }) },
      { sandbox: '../x' },
      { term: 2n ** 60n },
      { secrets: [{ name: 'A B', value: Buffer.alloc(1) }] },
      { secrets: [{ name: 'a', value: Buffer.alloc(65 * 1024) }] },
    ];
    for (const field of refused) expectError(() => stepFromWire(wire(field)), 'INVALID_ARGUMENT');
  });

  it('bounds what goes back', () => {
    const output = Buffer.concat([Buffer.from('first'), Buffer.alloc(200_000), Buffer.from('last')]);
    const facts = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`fact-${n}`, 'x'.repeat(10_000)]));
    const sent = stepOutcomeToWire({ state: 'ok', message: 'm'.repeat(99_999), remedy: '', output, facts });
    expect(sent.output).to.have.length(64 * 1024);
    expect(sent.output.subarray(0, 5).toString()).to.equal('first');
    expect(sent.output.subarray(-4).toString()).to.equal('last');
    expect(sent.message).to.have.length(8192);
    expect(sent.facts).to.have.length(64);
  });
});
