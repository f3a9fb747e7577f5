// Databases through the operator's API, on a whole controller: sources, checks, what can be reached, restores with their grants.

import { expect } from 'chai';
import pg from 'pg';

import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import type { DatabasePoint, LogGap, LogRange, RecoveryTarget } from '@holdfast/shared/format/log-point';
import { createRpcClient } from '@holdfast/shared/rpc/channel';
import type { JobEvent } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import {
  VaultDefinition,
  type BackupRequest,
  type ReadLogRequest,
  type StoreLogRequest,
  type VaultClient,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { gapToWire, pointToWire, rangeToWire, targetToWire } from '@holdfast/shared/rpc/log-wire';

import { gapOf, lsn, pieceOf, pointOf, rangeOf, timeline1 } from '../testing/log-fixture.ts';
import { ScriptedAgent } from '../testing/scripted-agent.ts';
import { codeOf, startTestController, type TestController, type TestHost } from '../testing/test-controller.ts';
import { snapshotOf, type TestHost as Keys } from '../testing/vault-fixture.ts';

/** A commit at every position, at so many milliseconds. */
const MS = 1000;
const T0 = 1_790_000_000_000;

describe('databases', () => {
  let test: TestController;
  let pool: pg.Pool;
  let host: TestHost;
  let vault: VaultClient;
  let agent: ScriptedAgent;
  let keys: Keys;
  let sourceId: string;

  const spec = (change: object = {}) => ({
    name: 'db',
    type: {
      $case: 'engine' as const,
      value: { type: 'postgres', settings: [{ name: 'dsn', value: 'host=/run user=holdfast' }], ...change },
    },
  });

  beforeEach(async () => {
    test = await startTestController();
    pool = new pg.Pool({ ...test.database, max: 2 });
    host = await test.enrolHost('web-1');
    const added = await test.owner.addSource({ host: 'web-1', spec: spec() });
    sourceId = added.source?.id ?? '';
    vault = createRpcClient(VaultDefinition, test.track(host.target));
    const caller = { hostId: host.enrolled.hostId, domainId: host.enrolled.domainId };
    keys = { caller, sourceId, keys: deriveDomainKeys(Buffer.alloc(32, 5), caller.domainId, 0) };
    agent = new ScriptedAgent(test, host, 'p1');
    await agent.next('sources');
  });
  afterEach(async () => {
    agent.outbox.end();
    await pool.end();
    await test.close();
  });

  /** [start, end) with a commit at every position. */
  const piece = (start: number, end: number, change: Partial<LogRange> = {}) =>
    pieceOf(
      keys,
      rangeOf(start, end, {
        firstCommitAtMs: T0 + start * MS,
        lastCommitAtMs: T0 + (end - 1) * MS,
        completeToMs: T0 + end * MS - 1,
        ...change,
      }),
    );
  const gap = (start: number, end: number): LogGap =>
    gapOf(start, end, { fromMs: T0 + start * MS, toMs: T0 + end * MS });
  const store = async (...items: readonly (ReturnType<typeof piece> | LogGap)[]): Promise<void> => {
    const done = Promise.withResolvers<void>();
    async function* requests(): AsyncGenerator<StoreLogRequest> {
      yield { kind: { $case: 'begin', value: { sourceId } } };
      for (const item of items) {
        if (!('envelope' in item)) {
          yield { kind: { $case: 'gap', value: gapToWire(item) } };
          continue;
        }
        const { id, envelope } = item;
        const part = { id, totalLength: envelope.length, offset: 0, data: envelope, referenceProofs: Buffer.alloc(0) };
        yield { kind: { $case: 'part', value: part } };
        yield { kind: { $case: 'segment', value: { id, range: rangeToWire(item.range) } } };
      }
      await done.promise;
    }
    for await (const { kind } of vault.storeLog(requests())) {
      if (kind?.$case === 'stored' && kind.value.count === BigInt(items.length)) break;
    }
    done.resolve();
  };
  const base = async (start: number, end: number, change: Partial<DatabasePoint> = {}): Promise<Buffer> => {
    const point = pointOf(start, end, { startAtMs: T0 + start * MS, endAtMs: T0 + end * MS, ...change });
    const objects = snapshotOf(keys, ['base'], `base ${start}`);
    const record = objects.at(-1)!;
    const { rows } = await pool.query<{ n: number }>('select count(*)::int as n from snapshot where source_id = $1', [
      sourceId,
    ]);
    async function* requests(): AsyncGenerator<BackupRequest> {
      const none = Buffer.alloc(0);
      const begin = { sourceId, jobId: '', sessionId: '', baseSnapshotId: none };
      yield { kind: { $case: 'begin', value: begin } };
      for (const { id, envelope, references } of objects) {
        const referenceProofs = Buffer.concat(references.map(({ proof }) => proof));
        const part = { id, totalLength: envelope.length, offset: 0, data: envelope, referenceProofs };
        yield { kind: { $case: 'part', value: part } };
      }
      const stats = {
        entries: 1n,
        files: 1n,
        bytesTotal: 1n,
        bytesRead: 1n,
        bytesNew: 1n,
        bytesStored: 1n,
        durationMs: 1n,
      };
      const rest = { stats, partial: false, warningsTotal: 0n, startedAtMs: 1n, point: pointToWire(point) };
      yield { kind: { $case: 'commit', value: { recordId: record.id, sequence: BigInt(rows[0]!.n + 1), ...rest } } };
    }
    for await (const { kind } of vault.backup(requests())) if (kind?.$case === 'committed') break;
    return record.id;
  };
  const restoreTo = async (target: RecoveryTarget, change: object = {}) => {
    const asked = { source: 'web-1/db', target: '/restore', point: targetToWire(target), ...change };
    const { jobId, snapshotId } = await test.owner.startRestore(asked);
    const job = await agent.next('job');
    expect(job.jobId).to.equal(jobId);
    if (job.kind?.$case !== 'restore') throw new Error('no restore');
    agent.say({ $case: 'finished', value: { jobId, outcome: { result: 'done' } } });
    return { snapshotId: Buffer.from(snapshotId), engine: job.kind.value.engine! };
  };
  const refusal = async (target: RecoveryTarget, change: object = {}): Promise<{ code: string; message: string }> => {
    try {
      await restoreTo(target, change);
    } catch (error) {
      return error as { code: string; message: string };
    }
    throw new Error('it was not refused');
  };
  const source = async () => (await test.owner.getSource({ source: 'web-1/db' })).source!;

  it('keeps what an engine is told, and no password', async () => {
    expect((await source()).type).to.equal('postgres');
    for (const value of ['host=x password=secret', 'postgresql://me:secret@host/db', 'sslpassword = x']) {
      const bad = spec({ settings: [{ name: 'dsn', value }] });
      expect(await codeOf(test.owner.addSource({ host: 'web-1', spec: { ...bad, name: 'other' } })), value).to.equal(
        'INVALID_ARGUMENT',
      );
    }
    for (const value of ['host=x passfile=/etc/pass', 'postgresql://me@host/db']) {
      const good = spec({ settings: [{ name: 'dsn', value }] });
      expect(await codeOf(test.owner.checkSource({ host: 'web-1', spec: good })), value).to.equal('none');
    }
    const twice = spec({
      settings: [
        { name: 'a', value: '1' },
        { name: 'a', value: '2' },
      ],
    });
    expect(await codeOf(test.owner.checkSource({ host: 'web-1', spec: twice }))).to.equal('INVALID_ARGUMENT');
    expect(await codeOf(test.owner.checkSource({ host: 'web-1', spec: spec({ type: '../x' }) }))).to.equal(
      'INVALID_ARGUMENT',
    );
  });

  it('asks an agent to check a source that is still to be added, and to look around', async () => {
    const { jobId } = await test.owner.checkSource({ host: 'web-1', spec: { ...spec(), name: 'new' } });
    const job = await agent.next('job');
    expect(job.kind?.$case).to.equal('check');
    const findings = [{ level: 'warning', subject: 'wal_level', message: 'low', remedy: 'alter system' }];
    agent.say({ $case: 'finished', value: { jobId, outcome: { result: 'done', findings } } });
    const events: JobEvent[] = [];
    for await (const event of test.owner.watchJob({ jobId })) events.push(event);
    const last = events.at(-1)?.kind;
    expect(last?.$case === 'outcome' && last.value.findings).to.deep.equal(findings);

    const looked = await test.owner.discoverSources({ host: 'web-1' });
    expect((await agent.next('job')).kind?.$case).to.equal('discover');
    expect(looked.jobId).to.not.equal(jobId);
    const { jobs } = await test.owner.listJobs({});
    expect(jobs.map(({ kind, source: of }) => `${kind} ${of}`)).to.deep.equal(['discover ', 'check ']);
    expect(await codeOf(test.owner.discoverSources({ host: 'nobody' }))).to.equal('NOT_FOUND');
  });

  it('shows what can be reached, the gaps, and what the agent says of the log', async () => {
    expect((await source()).state).to.equal('unprotected');
    await store(piece(10, 20), piece(20, 30));
    await base(12, 15);
    const log = {
      state: 'following',
      stream: { ...timeline1 },
      stored: { ...lsn(30) },
      completeToMs: BigInt(T0 + 99 * MS),
    };
    const slot = { name: 'holdfast', state: 'active', retainedBytes: 80n, keepBytes: 100n };
    agent.say({ $case: 'source', value: { sourceId, watching: 'continuous', log: { ...log, slot } } });
    await pollUntil(async () => (await source()).log !== undefined);
    const shown = await source();
    expect(shown.recoverable).to.deep.include({ fromMs: BigInt(T0 + 15 * MS), toMs: BigInt(T0 + 99 * MS), gaps: [] });
    expect(shown.log?.slot?.retainedBytes).to.equal(80n);
    expect(shown.state).to.equal('protected');
    expect(Number(shown.rpoMs)).to.be.lessThan(60_000);
    expect(shown.latest?.point?.end?.text).to.equal('0/F');
    const { attention } = await test.owner.getStatus({});
    expect(attention.map(({ message }) => message)).to.include(
      'its slot holdfast keeps 80 % of what it may keep on the server; beyond that the log has a gap',
    );

    await store(gap(30, 40), piece(40, 50));
    const gapped = await source();
    expect(gapped.state).to.equal('gap');
    expect(gapped.rpoMs).to.equal(undefined);
    expect((await test.owner.getStatus({})).attention[0]).to.deep.include({ level: 'critical', subject: 'web-1/db' });
    await base(42, 44, { suspect: true });
    const again = await source();
    expect(again.state).to.equal('suspect');
    expect(again.recoverable?.gaps.map(({ fromMs, toMs, reason }) => [fromMs, toMs, reason])).to.deep.equal([
      [BigInt(T0 + 30 * MS - 1), BigInt(T0 + 44 * MS), 'the slot was lost'],
    ]);
    expect(await fetchMetrics(test)).to.match(/holdfast_rpo_seconds\{source="web-1\/db"\} \d/);
  });

  it('restores to a time with the base before it and a grant for the log up to there', async () => {
    await store(piece(10, 20), piece(20, 30), piece(30, 40));
    const first = await base(11, 12);
    const second = await base(25, 26);
    const early = await restoreTo({ kind: 'time', atMs: T0 + 20 * MS + 5 });
    expect(early.snapshotId.equals(first)).to.equal(true);
    expect(early.engine.source?.type).to.equal('postgres');
    expect(early.engine.base?.end?.text).to.equal('0/C');
    expect(early.engine.toEndOfLog).to.equal(false);
    const late = await restoreTo({ kind: 'time', atMs: T0 + 39 * MS + 5 }, { start: true, port: 5502 });
    expect(late.snapshotId.equals(second)).to.equal(true);
    expect(late.engine).to.deep.include({ toEndOfLog: true, start: true, port: 5502 });
    expect(late.engine.logEnd?.text).to.equal('0/28');
    expect((await restoreTo({ kind: 'latest' })).engine.toEndOfLog).to.equal(true);

    async function* requests(): AsyncGenerator<ReadLogRequest> {
      yield { kind: { $case: 'open', value: { grant: late.engine.logGrant } } };
      const value = { stream: { ...timeline1 }, start: lsn(0), end: undefined, withoutFiles: false };
      yield { kind: { $case: 'list', value } };
    }
    const listed: string[] = [];
    for await (const { kind } of vault.readLog(requests())) {
      if (kind?.$case === 'listed') for (const { range } of kind.value.segments) listed.push(range!.start!.text);
    }
    expect(listed).to.deep.equal(['0/A', '0/14', '0/1E']);
  });

  it('restores to a position, a name, a chosen base', async () => {
    await store(piece(10, 20), piece(20, 30, { marks: ['name=before the upgrade'] }));
    const first = await base(11, 12);
    await base(25, 26);
    expect((await restoreTo({ kind: 'position', text: '0/18' })).snapshotId.equals(first)).to.equal(true);
    expect((await restoreTo({ kind: 'name', name: 'before the upgrade' })).snapshotId.equals(first)).to.equal(true);
    const chosen = await restoreTo({ kind: 'base' }, { snapshotId: first, point: undefined });
    expect(chosen.engine.target?.kind?.$case).to.equal('base');
    expect(chosen.snapshotId.equals(first)).to.equal(true);
  });

  it('refuses what cannot be reached, and says what can', async () => {
    await store(piece(10, 20), gap(20, 30), piece(30, 40));
    await base(12, 14);
    const inGap = await refusal({ kind: 'time', atMs: T0 + 25 * MS });
    expect(inGap.code).to.equal('FAILED_PRECONDITION');
    const newest = await refusal({ kind: 'latest' });
    expect(newest.message).to.equal(
      'the newest part of the log is behind a gap, from 0/14 to 0/1E (the slot was lost), and no base was taken since',
    );
    await base(32, 34);
    const at = (position: number): string => new Date(T0 + position * MS).toISOString();
    expect((await refusal({ kind: 'time', atMs: T0 + 25 * MS })).message).to.equal(
      `${at(25)} is in a gap, from ${new Date(T0 + 20 * MS - 1).toISOString()} to ${at(34)}: the slot was lost`,
    );
    expect((await refusal({ kind: 'time', atMs: T0 + 3 * MS })).message).to.equal(
      `${at(3)} is before the first base, which is consistent from ${at(14)} on`,
    );
    expect((await refusal({ kind: 'time', atMs: T0 + 50 * MS })).message).to.equal(
      `${at(50)} is after what is stored, which is complete up to ${new Date(T0 + 40 * MS - 1).toISOString()}`,
    );
    expect((await refusal({ kind: 'position', text: '0/19' })).message).to.contain('is in a gap, from 0/14 to 0/1E');
    expect((await refusal({ kind: 'position', text: '0/99' })).message).to.contain('which ends at 0/28');
    expect((await refusal({ kind: 'position', text: 'nowhere' })).code).to.equal('INVALID_ARGUMENT');
    expect((await refusal({ kind: 'name', name: 'x' })).code).to.equal('NOT_FOUND');
    expect((await refusal({ kind: 'gtid', gtid: 'x' })).code).to.equal('INVALID_ARGUMENT');
  });

  it('gives a restore test what a restore gets, and nothing of the kind to a file tree', async () => {
    await store(piece(10, 20));
    await base(12, 14);
    await test.owner.startVerify({ source: 'web-1/db', restoreTest: true });
    const job = await agent.next('job');
    if (job.kind?.$case !== 'verify') throw new Error('no verify');
    expect(job.kind.value.restoreTest?.start).to.equal(true);
    expect(job.kind.value.restoreTest?.logGrant.length).to.be.greaterThan(100);

    const files = { name: 'site', type: { $case: 'files' as const, value: { paths: ['/srv'] } } };
    await test.owner.addSource({ host: 'web-1', spec: files });
    const point = targetToWire({ kind: 'latest' });
    expect(await codeOf(test.owner.startRestore({ source: 'web-1/site', target: '/x', point }))).to.equal(
      'INVALID_ARGUMENT',
    );
  });

  it('takes no status of a log that no agent sends', async () => {
    agent.say({ $case: 'source', value: { sourceId, watching: 'continuous', log: { state: 'asleep' } } });
    expect(await agent.ended()).to.equal('PROTOCOL_VIOLATION');
    expect((await source()).log).to.equal(undefined);
    expect(ObjectKind.logSegment).to.equal(4);
  });
});

async function fetchMetrics(test: TestController): Promise<string> {
  return (await fetch(`http://127.0.0.1:${test.controller.metricsPort}/metrics`)).text();
}

async function pollUntil(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}
