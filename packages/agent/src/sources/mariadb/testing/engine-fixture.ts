// The whole engine on a real server, with a vault and a log in memory: bases, following, restores.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import type { DatabasePoint, RecoveryTarget } from '@holdfast/shared/format/log-point';
import type {
  BackupJob,
  EngineRestore,
  EngineSpec,
  JobDeps,
  JobReport,
  RestoreJob,
  Settings,
} from '../../../jobs/job.ts';
import { MemoryVault } from '../../../testing/memory-vault.ts';
import { restoreJob, testJobDeps, verifyJob } from '../../../testing/job-deps.ts';
import { TEST_DOMAIN, TEST_SECRET } from '../../../testing/snapshot-builder.ts';
import { makeBase } from '../base.ts';
import { restoreServer } from '../restore/restore.ts';
import { runMariadbVerify } from '../restore/restore-test.ts';
import { GuardFixture, mariadbSource } from './guard-fixture.ts';

export interface TakenBase {
  readonly report: JobReport;
  readonly point: DatabasePoint;
}

export class EngineFixture {
  readonly guard = new GuardFixture();
  readonly vault = new MemoryVault();
  readonly #work = mkdtempSync(join(tmpdir(), 'holdfast-mariadb-'));
  readonly #settings: Settings;
  #targets = 0;

  constructor(settings: Settings) {
    this.#settings = settings;
    // The restored server's account must be able to enter it.
    chmodSync(this.#work, 0o755);
  }

  /** With which the vault's objects are read. */
  get keys(): DomainKeys {
    return deriveDomainKeys(TEST_SECRET, TEST_DOMAIN, 0);
  }

  get source(): EngineSpec {
    return mariadbSource(this.#settings);
  }

  follow(): void {
    this.guard.start(this.#settings);
  }

  async takeBase(
    rest: Partial<BackupJob<EngineSpec>> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<TakenBase> {
    const points: DatabasePoint[] = [];
    const job: BackupJob<EngineSpec> = { kind: 'backup', jobId: 'job', source: this.source, fullRead: false, ...rest };
    const report = await makeBase(job, this.#deps(points), signal, () => undefined);
    const point = points.at(-1);
    if (point === undefined) throw new Error('the base was committed without a point');
    return { report, point };
  }

  /** A new directory's path, and what came of restoring the newest snapshot into it. */
  async restore(
    base: TakenBase,
    target: RecoveryTarget,
    rest: Partial<EngineRestore> = {},
    job: Partial<RestoreJob> = {},
  ): Promise<{ directory: string; report: JobReport }> {
    const directory = join(this.#work, `target-${++this.#targets}`);
    const report = await restoreServer(
      restoreJob(directory, { grant: this.#grant(), ...job }),
      this.order(base, target, rest),
      this.#deps([]),
      new AbortController().signal,
      () => undefined,
    );
    return { directory, report };
  }

  async restoreTest(base: TakenBase, settings: Settings = {}): Promise<JobReport> {
    const order = this.order(base, { kind: 'latest' });
    const restoreTest = { ...order, source: { ...order.source, settings: { ...order.source.settings, ...settings } } };
    return runMariadbVerify(
      verifyJob({ grant: this.#grant(), restoreTest }),
      this.#deps([]),
      new AbortController().signal,
      () => undefined,
    );
  }

  order(base: TakenBase, target: RecoveryTarget, rest: Partial<EngineRestore> = {}): EngineRestore {
    const head = this.guard.log.head(base.point.stream);
    return {
      source: this.source.engine,
      base: base.point,
      target,
      log: head === undefined ? undefined : { stream: head.stream, end: head.end, grant: Buffer.from('log') },
      toEndOfLog: false,
      start: false,
      port: 0,
      options: {},
      ...rest,
    };
  }

  async remove(): Promise<void> {
    await this.guard.remove();
    rmSync(this.#work, { recursive: true, force: true });
  }

  #grant(): Buffer {
    const newest = this.vault.snapshots.at(-1);
    if (newest === undefined) throw new Error('no base was taken');
    return newest;
  }

  #deps(points: DatabasePoint[]): JobDeps {
    const { client } = this.vault;
    const deps = testJobDeps({
      ...client,
      ...this.guard.log.client,
      openBackup: async (request) => {
        const session = await client.openBackup(request);
        const commit = session.commit.bind(session);
        session.commit = (what) => {
          if (what.point !== undefined) points.push(what.point);
          return commit(what);
        };
        return session;
      },
    });
    return { ...deps, stateDir: this.guard.stateDir };
  }
}
