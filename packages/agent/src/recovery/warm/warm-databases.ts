// The warm copies of databases on this host: made, taken up again after a restart, finished, released.
//
// Hazard: a second server on one directory, or two jobs that make one copy. Whatever concerns one copy goes one after the other.
//
// Elsewhere on purpose: whether a place may be a copy at all (marks.ts), how one copy lives (warm-database.ts).

import { readdirSync } from 'node:fs';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { EngineRestore, JobDeps, JobReport, ProgressListener, RestoreJob, WarmOrder } from '../../jobs/job.ts';
import { EMPTY_SUMMARY } from '../../jobs/outcome.ts';
import { parseLsn } from '../../sources/postgres/log/lsn.ts';
import { giveTo, prepareStart } from '../../sources/postgres/restore/data-directory.ts';
import { standbySettings } from '../../sources/postgres/restore/recovery-settings.ts';
import { layCluster } from '../../sources/postgres/restore/restore.ts';
import { DEFAULT_PORT, reachedPoint } from '../../sources/postgres/restore/server-run.ts';
import { IN_PLACE_SINCE } from '../../sources/postgres/restore/tablespaces.ts';
import { StandbyServer } from './standby-server.ts';
import { conninfoOf, WarmDatabase, type WarmDatabaseDeps } from './warm-database.ts';
import type { WarmReport } from './warm-report.ts';
import { readWarmRecords, removeWarmRecord, warmKey, writeWarmRecord, type WarmRecord } from './warm-record.ts';

export interface WarmDatabasesDeps extends Omit<WarmDatabaseDeps, 'save'> {
  readonly stateDir: string;
}

export class WarmDatabases {
  readonly #deps: WarmDatabasesDeps;
  readonly #copies = new Map<string, WarmDatabase>();
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(deps: WarmDatabasesDeps) {
    this.#deps = deps;
  }

  /** Goes on with what an earlier agent kept. Never throws: a copy that can't be taken up is made anew when it is asked for. */
  async resume(): Promise<void> {
    for (const record of readWarmRecords(this.#deps.stateDir)) {
      await this.#inTurn(record, async () => {
        if (this.#copies.has(warmKey(record))) return;
        await this.#take(record);
      }).catch((error: unknown) =>
        this.#deps.log.warn('warm.not-resumed', { sourceId: record.sourceId, error: toHoldfastError(error).message }),
      );
    }
  }

  /** A job of a warm copy. Throws as a restore does. */
  run(job: RestoreJob, deps: JobDeps, signal: AbortSignal, onProgress: ProgressListener): Promise<JobReport> {
    const { warm, engine } = job;
    if (warm === undefined) throw new HoldfastError('INTERNAL', 'no job of a warm copy');
    return this.#inTurn(warm, async () => {
      if (warm.action === 'release') return this.#release(warm);
      if (engine === undefined) throw new HoldfastError('INTERNAL', 'no job of a database’s warm copy');
      if (warm.action === 'finish') return this.#finish(warm, engine, deps, signal);
      return this.#keep(job, warm, engine, deps, signal, onProgress);
    });
  }

  /** Copies go on by themselves; only their sockets end with the agent. */
  async stop(): Promise<void> {
    await Promise.all([...this.#copies.values()].map((copy) => copy.stop('goes-on')));
    this.#copies.clear();
  }

  async #keep(
    job: RestoreJob,
    warm: WarmOrder,
    engine: EngineRestore,
    deps: JobDeps,
    signal: AbortSignal,
    onProgress: ProgressListener,
  ): Promise<JobReport> {
    const { log } = engine;
    if (log === undefined)
      throw new HoldfastError('FAILED_PRECONDITION', 'a source without a log has nothing to replay');
    const known = this.#copies.get(warmKey(warm));
    const dataDir = Buffer.from(job.target, 'latin1').toString('utf8');
    const fits =
      known !== undefined &&
      known.broken === '' &&
      known.record.dataDir === dataDir &&
      known.record.systemIdentifier === log.stream.systemIdentifier;
    if (fits) {
      known.renew(log.grant, log.stream);
      return reportOf({ summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 }, known, known.state);
    }
    await this.#drop(warm, 'ends');
    this.#deps.report({ ...NOTHING, application: warm.application, sourceId: warm.sourceId });
    const { record, files } = await this.#lay(job, warm, { ...engine, start: true }, deps, signal, onProgress);
    if (record === undefined) return files;
    const copy = await this.#take(record);
    return reportOf(files, copy, await copy.replaying(signal));
  }

  /** The base where it belongs, told to be a standby. */
  async #lay(
    job: RestoreJob,
    warm: WarmOrder,
    engine: EngineRestore,
    deps: JobDeps,
    signal: AbortSignal,
    onProgress: ProgressListener,
  ): Promise<{ readonly record: WarmRecord | undefined; readonly files: JobReport }> {
    const dataDir = Buffer.from(job.target, 'latin1').toString('utf8');
    const delta = holdsSomething(dataDir);
    const laid = await layCluster({ ...job, delta, intoNonEmpty: false }, engine, deps, signal, onProgress);
    const { facts, bin, account, files } = laid;
    if (files.failure !== undefined || bin === undefined) return { record: undefined, files };
    const tablespacesInPlace = facts.serverVersionNumber >= IN_PLACE_SINCE;
    prepareStart(dataDir, standbySettings(conninfoOf(dataDir), tablespacesInPlace), 'standby.signal');
    giveTo(dataDir, account);
    const record: WarmRecord = {
      application: warm.application,
      sourceId: warm.sourceId,
      dataDir,
      port: engine.port || DEFAULT_PORT,
      bin,
      account: { uid: account.uid, gid: account.gid },
      superuser: facts.superuser,
      serverVersion: facts.serverVersion,
      walFileBytes: facts.walFileBytes,
      tablespacesInPlace,
      systemIdentifier: facts.systemIdentifier,
      baseTimeline: facts.timeline,
      baseStart: facts.start,
      timeline: engine.log?.stream.timeline ?? facts.timeline,
      grant: Buffer.from(engine.log?.grant ?? []).toString('base64'),
      broken: '',
    };
    parseLsn(record.baseStart);
    writeWarmRecord(this.#deps.stateDir, record);
    return { record, files };
  }

  async #finish(warm: WarmOrder, engine: EngineRestore, deps: JobDeps, signal: AbortSignal): Promise<JobReport> {
    const startedAt = deps.clock.monotonicMs();
    const copy = this.#copies.get(warmKey(warm));
    if (copy === undefined) throw cold('this host keeps no warm copy of it');
    if (copy.broken !== '') throw cold(`its warm copy stands still: ${copy.broken}`);
    if (engine.target.kind !== 'latest' && !engine.toEndOfLog) {
      throw cold('a warm copy has replayed everything that is stored, and can’t go back to a point before that');
    }
    if (engine.log !== undefined) copy.renew(engine.log.grant, engine.log.stream);
    try {
      await copy.finish(engine.log?.end, signal);
    } catch (error) {
      const { broken } = copy.record;
      throw broken === '' ? error : cold(`its warm copy stands still: ${broken}`);
    }
    const { systemIdentifier, timeline } = copy.record;
    const replayMs = deps.clock.monotonicMs() - startedAt;
    const asked = { query: (text: string) => copy.query(text), connect: copy.connect };
    const reached = await reachedPoint(asked, { systemIdentifier, timeline }, replayMs, { warm: 'yes' });
    await this.#drop(warm, engine.start ? 'goes-on' : 'ends');
    this.#deps.report({ ...copy.state, state: 'finished' });
    const durationMs = Math.round(deps.clock.monotonicMs() - startedAt);
    return {
      summary: { ...EMPTY_SUMMARY, durationMs },
      warnings: [],
      warningsTotal: 0,
      reached: { ...reached, running: engine.start },
    };
  }

  async #release(warm: WarmOrder): Promise<JobReport> {
    await this.#drop(warm, 'ends');
    return { summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 };
  }

  async #take(record: WarmRecord): Promise<WarmDatabase> {
    const save = (changed: WarmRecord): void => writeWarmRecord(this.#deps.stateDir, changed);
    const copy = new WarmDatabase(record, { ...this.#deps, save });
    await copy.start();
    this.#copies.set(warmKey(record), copy);
    return copy;
  }

  async #drop(warm: WarmOrder, server: 'goes-on' | 'ends'): Promise<void> {
    const copy = this.#copies.get(warmKey(warm));
    if (copy === undefined) {
      // Of an earlier agent, and not taken up.
      const left = readWarmRecords(this.#deps.stateDir).find((record) => warmKey(record) === warmKey(warm));
      if (left !== undefined && server === 'ends') await new StandbyServer(left, this.#deps.clock).stop();
    }
    await copy?.stop(server);
    this.#copies.delete(warmKey(warm));
    removeWarmRecord(this.#deps.stateDir, warm);
  }

  async #inTurn<T>(of: Pick<WarmRecord, 'application' | 'sourceId'>, work: () => Promise<T>): Promise<T> {
    const key = warmKey(of);
    const before = this.#turns.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(key, settled);
    void settled.then(() => (this.#turns.get(key) === settled ? this.#turns.delete(key) : false));
    return mine;
  }
}

const NOTHING: Omit<WarmReport, 'application' | 'sourceId'> = {
  state: 'restoring',
  stream: undefined,
  replayed: undefined,
  completeToMs: 0,
  note: '',
};

function reportOf(files: JobReport, copy: WarmDatabase, { stream, replayed }: WarmReport): JobReport {
  if (stream === undefined || replayed === undefined) return files;
  const reached = {
    stream,
    position: replayed,
    lastCommitAtMs: 0,
    running: true,
    connect: copy.connect,
    replayMs: 0,
    facts: {},
  };
  return { ...files, reached };
}

function cold(why: string): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', `${why}: it has to be restored from its base`, {
    hint: 'That takes as long as its base and its log are large.',
    details: { cold: true },
  });
}

function holdsSomething(dataDir: string): boolean {
  try {
    return readdirSync(dataDir).length > 0;
  } catch {
    return false;
  }
}
