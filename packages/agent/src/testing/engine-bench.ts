// An agent's surroundings for one engine: a vault and a log in memory, and the calls that the agent would make.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { referencesOf } from '@holdfast/shared/format/envelope';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { BackupJob, EngineRestore, JobDeps, JobReport, RestoreJob, SourceSpec, VerifyJob } from '../jobs/job.ts';
import { outcomeOfError, outcomeOfReport } from '../jobs/outcome.ts';
import type { SourceReport } from '../link/control-wire.ts';
import type { Guard, LookDeps, SourceEngine } from '../sources/engine.ts';
import { restoreJob, testJobDeps, verifyJob } from './job-deps.ts';
import { MemoryLog } from './memory-log.ts';
import { MemoryVault } from './memory-vault.ts';

/** A source, and the engine that knows it. */
export interface ProtectedBy {
  readonly engine: SourceEngine;
  readonly source: SourceSpec;
}

/** As an agent runs jobs: a guard's own base and the test's not at once. */
export function inTurn<E extends SourceEngine>(engine: E): E {
  let turn: Promise<unknown> = Promise.resolve();
  const base: SourceEngine['base'] = (...job) => {
    const mine = turn.then(() => engine.base(...job));
    turn = mine.catch(() => undefined);
    return mine;
  };
  return { ...engine, base };
}

export class EngineBench {
  readonly vault = new MemoryVault();
  readonly log = new MemoryLog();
  readonly reports: SourceReport[] = [];
  readonly #rig: ProtectedBy;
  readonly #stateDir = mkdtempSync(join(tmpdir(), 'holdfast-engine-'));
  #guard: Guard | undefined;

  constructor(rig: ProtectedBy) {
    this.#rig = rig;
  }

  deps(): JobDeps {
    const vault = { ...this.vault.client, ...this.log.client };
    return { ...testJobDeps(vault), stateDir: this.#stateDir };
  }

  look(): LookDeps {
    return { clock: systemClock, log: silentLog, signal: new AbortController().signal };
  }

  /** Starts the engine's guard, as the agent does for each source that it is given. */
  guard(): void {
    const { engine, source } = this.#rig;
    const deps = this.deps();
    this.#guard = engine.log?.(source, {
      ...deps,
      identity: () => deps.identity,
      random: Math.random,
      runBackup: async (job) => {
        try {
          return outcomeOfReport(await engine.base(job, deps, new AbortController().signal, () => undefined), []);
        } catch (error) {
          return outcomeOfError(error, false, 0, []);
        }
      },
      report: (report) => void this.reports.push(report),
    });
  }

  async base(): Promise<{ readonly report: JobReport; readonly snapshot: Buffer }> {
    const report = await this.run(new AbortController().signal);
    return { report, snapshot: Buffer.from(report.summary.snapshotId ?? []) };
  }

  run(signal: AbortSignal, onProgress = (): void => undefined, source = this.#rig.source): Promise<JobReport> {
    const job: BackupJob = { kind: 'backup', jobId: 'job', fullRead: false, source };
    return this.#rig.engine.base(job, this.deps(), signal, onProgress);
  }

  restore(
    snapshot: Buffer,
    target: string,
    engine: Partial<EngineRestore> = {},
    more: Partial<RestoreJob> = {},
    /** Aborted when the restore first says how far it is. */
    ending?: AbortController,
  ): Promise<JobReport> {
    const job = restoreJob(target, {
      grant: snapshot,
      ...(this.#rig.source.type === 'engine'
        ? { engine: this.engineRestore({ ...this.#pointOf(snapshot), ...engine }) }
        : {}),
      ...more,
    });
    const { signal } = ending ?? new AbortController();
    return this.#rig.engine.restore(job, this.deps(), signal, () => ending?.abort());
  }

  verifyJob(snapshot: Buffer): VerifyJob {
    return verifyJob({ grant: snapshot });
  }

  verify(snapshot: Buffer): Promise<JobReport> {
    return this.#rig.engine.verify(
      this.verifyJob(snapshot),
      this.deps(),
      new AbortController().signal,
      () => undefined,
    );
  }

  /** Changes one byte of the largest object that this snapshot needs; returns what undoes it. */
  damage(snapshot: Buffer): () => void {
    const needed = new Set<string>();
    const unseen = [snapshot.toString('hex')];
    for (let id = unseen.pop(); id !== undefined; id = unseen.pop()) {
      if (needed.has(id)) continue;
      needed.add(id);
      const references = Buffer.from(referencesOf(this.vault.objects.get(id)!)).toString('hex');
      for (let at = 0; at < references.length; at += 64) unseen.push(references.slice(at, at + 64));
    }
    const [id, envelope] = Array.from(this.vault.objects)
      .filter(([name]) => needed.has(name))
      .toSorted(([, a], [, b]) => b.length - a.length)[0]!;
    const changed = Buffer.from(envelope);
    const at = changed.length - 5;
    changed[at] = changed[at]! ^ 1;
    this.vault.objects.set(id, changed);
    return () => void this.vault.objects.set(id, envelope);
  }

  /** Ends the guard; `guard` starts another. */
  async unguard(): Promise<void> {
    await this.#guard?.stop();
    this.#guard = undefined;
  }

  async close(): Promise<void> {
    await this.unguard();
    rmSync(this.#stateDir, { recursive: true, force: true });
  }

  /** Where a snapshot stands, and the log behind it as far as it is stored: what a controller would say. */
  #pointOf(snapshot: Buffer): Pick<EngineRestore, 'base' | 'log'> {
    const base = this.vault.points[this.vault.snapshots.findIndex((id) => id.equals(snapshot))];
    const head = base === undefined ? undefined : this.log.head(base.stream);
    const log = head && { stream: head.stream, end: head.end, grant: Buffer.alloc(0) };
    return { base, log };
  }

  engineRestore(more: Partial<EngineRestore>): EngineRestore {
    const { source } = this.#rig;
    if (source.type !== 'engine') throw new Error('a file tree is restored as it is');
    return {
      source: source.engine,
      base: undefined,
      target: { kind: 'base' },
      log: undefined,
      toEndOfLog: false,
      start: false,
      port: 0,
      options: {},
      ...more,
    };
  }
}
