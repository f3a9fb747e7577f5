import { expect } from 'chai';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { expectError, expectRejection } from '@holdfast/shared/testing/expect-error';
import type { EngineRestore, RestoreJob, RunRestore, WarmOrder } from '../../jobs/job.ts';
import { EMPTY_SUMMARY } from '../../jobs/outcome.ts';
import { restoreJob, testJobDeps } from '../../testing/job-deps.ts';
import { MemoryVault } from '../../testing/memory-vault.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { keptIdentity } from './identity-paths.ts';
import { placesOf, planRestores } from './plan-restores.ts';

const ORDER: WarmOrder = { application: 'shop', sourceId: 'files', action: 'keep', takeOver: false, snapshotId: '' };

const SNAPSHOT = Buffer.alloc(32, 7);

describe('restores that a plan asks for', () => {
  let stateDir: string;
  let disk: string;
  let ran: RestoreJob[];
  /** What was asked of the warm databases. */
  let asked: string[];

  beforeEach(() => {
    stateDir = scratchDirectory();
    disk = scratchDirectory();
    ran = [];
    asked = [];
  });
  afterEach(removeScratchDirectories);

  const run = async (job: Partial<RestoreJob>): Promise<void> => {
    const whole = restoreJob(join(disk, 'srv'), { keepsIdentity: true, ...job });
    const report = { summary: { ...EMPTY_SUMMARY, snapshotId: SNAPSHOT }, warnings: [], warningsTotal: 0 };
    const database: RunRestore = async ({ warm, engine }) => {
      asked.push(`${warm?.action} ${warm?.sourceId}`);
      if (warm?.action !== 'finish' || engine?.target.kind === 'latest') return report;
      throw new HoldfastError('FAILED_PRECONDITION', 'it can’t go back', { details: { cold: true } });
    };
    const pipeline = planRestores(
      async () => async (placed) => {
        ran.push(placed);
        mkdirSync(join(disk, 'srv'), { recursive: true });
        writeFileSync(join(disk, 'srv', 'restored'), '');
        return report;
      },
      { stateDir, sandboxes: { get: () => expect.fail('no sandbox') }, database },
    );
    const deps = testJobDeps(new MemoryVault().client);
    await (
      await pipeline(whole)
    )(whole, deps, new AbortController().signal, () => undefined);
  };

  it('a job that no plan asked for goes through as it is', async () => {
    const { keepsIdentity: _, ...plain } = restoreJob(join(disk, 'srv'));
    await run({ ...plain, keepsIdentity: false });
    expect(ran[0]).to.not.have.property('kept');
  });

  it('WM1 WM3 a copy begins in an empty place, marked before it is written; from then on it is made the same again and again', async () => {
    await run({ warm: ORDER });
    expect(ran[0]).to.include({ delta: true, deleteExtra: true, intoNonEmpty: true });
    expect(readdirSync(join(stateDir, 'warm'))).to.deep.equal(['shop.files.mark']);
    await run({ warm: ORDER });
    expect(ran.length).to.equal(2);
    await run({ warm: { ...ORDER, action: 'release' } });
    expect(readdirSync(join(stateDir, 'warm'))).to.deep.equal([]);
    await expectRejection(run({ warm: ORDER }), 'FAILED_PRECONDITION');
    expect(existsSync(join(disk, 'srv', 'restored')), 'what was released stays').to.equal(true);
  });

  it('a database’s copy ends with its release, though nothing is said of its source any more', async () => {
    mkdirSync(join(stateDir, 'warm'));
    writeFileSync(join(stateDir, 'warm', 'shop.files.json'), '{}');
    await run({ warm: { ...ORDER, action: 'release' } });
    expect(asked).to.deep.equal(['release files']);
  });

  it('WM1 a place that holds something else is refused with words, unless it may be overwritten', async () => {
    mkdirSync(join(disk, 'srv'));
    writeFileSync(join(disk, 'srv', 'precious'), '');
    const error = await expectRejection(run({ warm: ORDER }), 'FAILED_PRECONDITION');
    expect(error.message).to.contain('holds something that is no copy of this plan');
    expect(ran).to.deep.equal([]);
    await run({ warm: { ...ORDER, takeOver: true } });
    expect(ran.length).to.equal(1);
  });

  it('a failover takes a copy that is the snapshot as it is, once, and brings any other to it', async () => {
    const finish = { warm: { ...ORDER, action: 'finish' as const, snapshotId: SNAPSHOT.toString('hex') } };
    await run({ warm: ORDER });
    await run({ warm: { ...finish.warm, snapshotId: '00' } });
    expect(ran.length, 'another snapshot').to.equal(2);
    expect(ran[1], 'which may be an older one').to.include({ delta: true, deleteExtra: true, intoNonEmpty: true });
    await run({ warm: ORDER });
    await run(finish);
    expect(ran.length, 'the same').to.equal(3);
    await run(finish);
    expect(ran.length, 'others may have written since').to.equal(4);
    const below = (...names: string[]) => ({
      target: fromText('/'),
      paths: names.map((name) => fromText(join(disk, name).slice(1))),
    });
    await run({ ...below('a', 'b'), warm: { ...ORDER, sourceId: 'two' } });
    await run({ ...below('a', 'c'), warm: { ...finish.warm, sourceId: 'two' } });
    expect(ran.length, 'another directory than the copy’s').to.equal(6);
    expect(ran[5]).to.include({ deleteExtra: false });
  });

  it('a database that goes back to an earlier point, or is kept warm no longer, is restored only when its copy has ended', async () => {
    const engine = (kind: 'latest' | 'time'): EngineRestore => ({
      source: { type: 'postgres', settings: {} },
      target: kind === 'latest' ? { kind } : { kind, atMs: 1 },
      base: undefined,
      log: undefined,
      toEndOfLog: false,
      start: false,
      port: 0,
      options: {},
    });
    const keep = { ...ORDER, sourceId: 'db' };
    await run({ warm: keep, engine: engine('latest') });
    await run({ warm: { ...keep, action: 'finish' }, engine: engine('time') });
    expect(asked).to.deep.equal(['keep db', 'finish db', 'release db']);
    expect(ran).to.have.length(1);
    await run({ warm: { ...keep, sourceId: 'other', action: 'finish' }, engine: engine('time') });
    expect(ran, 'a place that is no copy').to.have.length(2);
    asked = [];
    await run({ engine: engine('latest') });
    expect(asked, 'the plan is cold now').to.deep.equal(['release db']);
    await run({ engine: engine('latest') });
    expect(asked).to.deep.equal(['release db']);
    expect(ran).to.have.length(4);
  });

  it('WM2 no two copies lie in one another', async () => {
    await run({ warm: ORDER });
    const within = { warm: { ...ORDER, sourceId: 'other' }, target: fromText(join(disk, 'srv', 'inner')) };
    await expectRejection(run(within), 'FAILED_PRECONDITION');
    const around = { warm: { ...ORDER, sourceId: 'other' }, target: fromText(disk) };
    await expectRejection(run(around), 'FAILED_PRECONDITION');
  });

  it('a source of several directories is kept where they are, and never as the whole host', () => {
    expect(placesOf({ target: '/', paths: ['etc/shop', '/srv/shop/'] })).to.deep.equal(['/etc/shop', '/srv/shop']);
    expect(placesOf({ target: '/srv/', paths: ['a'] })).to.deep.equal(['/srv']);
    expectError(() => placesOf({ target: '/', paths: [] }), 'INVALID_ARGUMENT');
    expectError(() => placesOf({ target: '//', paths: ['/'] }), 'INVALID_ARGUMENT');
  });

  it('what makes a host itself is kept, from wherever it is restored, and nothing is restored into it', async () => {
    expect(keptIdentity('/', ['/var/lib/holdfast'])).to.include.members([
      'etc/machine-id',
      'etc/netplan',
      'var/lib/holdfast',
    ]);
    expect(keptIdentity('/etc', [])).to.include.members(['machine-id', 'hostname']);
    expect(keptIdentity('/srv', ['/srv/agent'])).to.deep.equal(['agent']);
    for (const target of ['/etc/netplan', '/var/lib/holdfast/x', '/etc/machine-id'])
      expectError(() => keptIdentity(target, ['/var/lib/holdfast']), 'FAILED_PRECONDITION');
    await expectRejection(run({ target: fromText(join(stateDir, 'x')) }), 'FAILED_PRECONDITION');
  });
});
