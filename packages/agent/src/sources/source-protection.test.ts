import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { EngineSpec } from '../jobs/job.ts';
import type { SourceReport } from '../link/control-wire.ts';
import { testJobDeps } from '../testing/job-deps.ts';
import { MemoryVault } from '../testing/memory-vault.ts';
import type { SourceEngine } from './engine.ts';
import { registryOf } from './registry.ts';
import { newSourceProtection, type SourceProtection } from './source-protection.ts';

const spec = (sourceId: string, type = 'fake', settings: Record<string, string> = {}): EngineSpec => ({
  type: 'engine',
  engine: { type, settings },
  sourceId,
  name: sourceId,
  hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
  limitBytesPerSecond: 0,
  compression: { codec: 'zstd', level: 0 },
});

/** Lets everything that is ready run. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('source protection', () => {
  let happened: string[];
  let reports: SourceReport[];
  let protection: SourceProtection;

  beforeEach(() => {
    happened = [];
    reports = [];
    const { identity, vault } = testJobDeps(new MemoryVault().client);
    const fake: SourceEngine<EngineSpec> = {
      type: 'fake',
      settings: [],
      discover: () => Promise.resolve([]),
      check: () => Promise.resolve([]),
      base: () => Promise.reject(new Error('not asked')),
      restore: () => Promise.reject(new Error('not asked')),
      verify: () => Promise.reject(new Error('not asked')),
      log: ({ sourceId, engine }) => {
        const name = `${sourceId}${engine.settings['v'] ?? ''}`;
        happened.push(`begin ${name}`);
        return {
          stop: async () => {
            await settled();
            happened.push(`end ${name}`);
          },
          isElsewhere: (next) => next.type === 'engine' && next.engine.settings['at'] !== engine.settings['at'],
          leave: async () => void happened.push(`leave ${name}`),
        };
      },
    };
    protection = newSourceProtection({
      registry: registryOf({
        fake: () => Promise.resolve(fake),
        broken: () => Promise.reject(new HoldfastError('SYSTEM_CALL_FAILED', 'a module could not be read')),
      }),
      identity: () => identity,
      vault,
      clock: systemClock,
      random: () => 0.5,
      log: silentLog,
      stateDir: '/nowhere',
      runBackup: () => Promise.reject(new Error('not asked')),
      report: (report) => void reports.push(report),
      forgetReport: () => undefined,
    });
  });
  afterEach(() => protection.stop());

  it('G1 ends the guard of a changed source before its new one begins, and leaves the others alone', async () => {
    protection.update([spec('a'), spec('b')]);
    await settled();
    protection.update([spec('a', 'fake', { v: '2' }), spec('b')]);
    for (let turn = 0; turn < 5; turn++) await settled();
    expect(happened).to.deep.equal(['begin a', 'begin b', 'end a', 'begin a2']);
  });

  it('G4 leaves nothing behind of a source that is not listed any more, and only of such', async () => {
    protection.update([spec('a'), spec('b')]);
    await settled();
    protection.update([spec('b', 'fake', { v: '2' })]);
    for (let turn = 0; turn < 6; turn++) await settled();
    await protection.stop();
    expect(happened.filter((what) => what.startsWith('leave'))).to.deep.equal(['leave a']);
    expect(happened.indexOf('leave a')).to.be.greaterThan(happened.indexOf('end a'));
  });

  it('G4 leaves nothing behind at a server that the source is no more, before it begins at the new one', async () => {
    protection.update([spec('a', 'fake', { v: '1', at: 'here' })]);
    await settled();
    protection.update([spec('a', 'fake', { v: '2', at: 'there' })]);
    for (let turn = 0; turn < 6; turn++) await settled();
    expect(happened).to.deep.equal(['begin a1', 'end a1', 'leave a1', 'begin a2']);
  });

  it('G2 starts nothing for a source that was taken away, or an agent that stopped, while its engine was loading', async () => {
    protection.update([spec('a'), spec('b')]);
    protection.update([spec('b')]);
    await protection.stop();
    await settled();
    expect(happened).to.deep.equal([]);
  });

  it('G3 reports an engine that cannot be loaded or is not known, and guards the other sources', async () => {
    protection.update([spec('a', 'broken'), spec('b', 'unheard-of'), spec('c')]);
    for (let turn = 0; turn < 3; turn++) await settled();
    expect(happened).to.deep.equal(['begin c']);
    expect(reports.map(({ sourceId, watching }) => `${sourceId} ${watching}`)).to.have.members(['a off', 'b off']);
    const noteOf = (id: string) => reports.find(({ sourceId }) => sourceId === id)?.note;
    expect(noteOf('a')).to.equal('a module could not be read');
    expect(noteOf('b')).to.include('"unheard-of"');
  });
});
