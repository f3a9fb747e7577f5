import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { silentLog } from '@holdfast/shared/runtime/log';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import type { EngineSpec, Settings } from '../jobs/job.ts';
import type { SourceReport } from '../link/control-wire.ts';
import { testJobDeps } from '../testing/job-deps.ts';
import { MemoryVault } from '../testing/memory-vault.ts';
import type { SourceEngine } from './engine.ts';
import { heldTypes, listHeld, noteHeld } from './held-elsewhere.ts';
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
  let protect: () => SourceProtection;
  let clock: ManualClock;
  let stateDir: string;
  let unreachable: Set<string>;
  const keyOf = (sourceId: string, settings: Settings): string => `${sourceId} at ${settings['at'] ?? ''}`;

  beforeEach(() => {
    clock = new ManualClock();
    stateDir = mkdtempSync(join(tmpdir(), 'holdfast-protection-'));
    unreachable = new Set();
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
      heldElsewhere: {
        keyOf: ({ sourceId, engine }) => keyOf(sourceId, engine.settings),
        takeBack: async ({ key }) => {
          happened.push(`take back ${key}`);
          await settled();
          if (unreachable.has(key)) throw new HoldfastError('UNREACHABLE', 'away');
          happened.push(`${key} is free`);
        },
      },
      log: ({ sourceId, engine }) => {
        const name = `${sourceId}${engine.settings['v'] ?? ''}`;
        happened.push(`begin ${name}`);
        noteHeld(stateDir, 'fake', { key: keyOf(sourceId, engine.settings), sourceId, settings: engine.settings });
        return {
          stop: async () => {
            await settled();
            happened.push(`end ${name}`);
          },
        };
      },
    };
    protect = () =>
      newSourceProtection({
        registry: registryOf({
          fake: () => Promise.resolve(fake),
          broken: () => Promise.reject(new HoldfastError('SYSTEM_CALL_FAILED', 'a module could not be read')),
        }),
        identity: () => identity,
        vault,
        clock,
        random: () => 0.5,
        log: silentLog,
        stateDir,
        runBackup: () => Promise.reject(new Error('not asked')),
        report: (report) => void reports.push(report),
        forgetReport: () => undefined,
      });
    protection = protect();
  });
  afterEach(async () => {
    await protection.stop();
    rmSync(stateDir, { recursive: true });
  });

  it('G1 ends the guard of a changed source before its new one begins, and leaves the others alone', async () => {
    protection.update([spec('a'), spec('b')]);
    await settled();
    protection.update([spec('a', 'fake', { v: '2' }), spec('b')]);
    for (let turn = 0; turn < 5; turn++) await settled();
    expect(happened).to.deep.equal(['begin a', 'begin b', 'end a', 'begin a2']);
  });

  const turns = async (count = 12): Promise<void> => {
    for (let turn = 0; turn < count; turn++) await settled();
  };

  it('G4 T1 leaves nothing behind of a source that is not listed any more, and only of such', async () => {
    protection.update([spec('a'), spec('b')]);
    await turns();
    protection.update([spec('b', 'fake', { v: '2' })]);
    await turns();
    await protection.stop();
    expect(happened.filter((what) => what.startsWith('take'))).to.deep.equal(['take back a at ']);
    expect(happened.indexOf('take back a at ')).to.be.greaterThan(happened.indexOf('end a'));
    expect(listHeld(stateDir, 'fake').map(({ key }) => key)).to.deep.equal(['b at ']);
  });

  it('G4 T1 leaves nothing behind at a server that the source is no more', async () => {
    protection.update([spec('a', 'fake', { v: '1', at: 'here' })]);
    await turns();
    protection.update([spec('a', 'fake', { v: '2', at: 'there' })]);
    await turns();
    expect(happened.filter((what) => what.startsWith('take'))).to.deep.equal(['take back a at here']);
    expect(happened.indexOf('take back a at here')).to.be.greaterThan(happened.indexOf('end a1'));
    expect(listHeld(stateDir, 'fake').map(({ key }) => key)).to.deep.equal(['a at there']);
  });

  it('T2 tries again where nobody could be reached, also as the next agent, and also of what was taken away meanwhile', async () => {
    unreachable.add('a at ');
    protection.update([spec('a'), spec('b')]);
    await turns();
    protection.update([spec('b')]);
    await turns();
    expect(listHeld(stateDir, 'fake')).to.have.length(2);
    await clock.advanceInTurns(600_000);
    expect(happened.filter((what) => what === 'take back a at ').length).to.be.greaterThan(2);
    await protection.stop();

    unreachable.clear();
    protection = protect();
    await turns();
    // Nothing before it is known what this host's sources are.
    expect(listHeld(stateDir, 'fake')).to.have.length(2);
    protection.update([]);
    await turns();
    expect(listHeld(stateDir, 'fake')).to.deep.equal([]);
    expect(heldTypes(stateDir)).to.deep.equal([]);
  });

  it('T3 a source that is listed again waits until what it held is free, and holds it then', async () => {
    protection.update([spec('a')]);
    await turns();
    protection.update([]);
    while (!happened.includes('take back a at ')) await settled();
    protection.update([spec('a')]);
    await turns();
    expect(happened.slice(-2)).to.deep.equal(['a at  is free', 'begin a']);
    expect(listHeld(stateDir, 'fake')).to.have.length(1);
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
