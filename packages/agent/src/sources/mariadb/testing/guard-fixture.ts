// A guard on a real server, with a vault's log in memory: for tests of following.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { LogStatus } from '@holdfast/shared/format/log-point';
import { silentLog } from '@holdfast/shared/runtime/log';
import { systemClock } from '@holdfast/shared/runtime/clock';
import type { BackupJob, EngineSpec, JobOutcome, Settings } from '../../../jobs/job.ts';
import { KeyRing } from '../../../restore/key-ring.ts';
import { DONE, testJobDeps } from '../../../testing/job-deps.ts';
import { MemoryLog } from '../../../testing/memory-log.ts';
import { MemoryVault } from '../../../testing/memory-vault.ts';
import { fromLogPosition } from '../binlog/position.ts';
import { LogGuard } from '../follow/log-guard.ts';
import { placesOf } from '../follow/piece-builder.ts';

export function mariadbSource(settings: Settings): EngineSpec {
  return {
    sourceId: 'source-1',
    name: 'shopdb',
    type: 'engine',
    engine: { type: 'mariadb', settings },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

export class GuardFixture {
  readonly log = new MemoryLog();
  readonly stateDir = mkdtempSync(join(tmpdir(), 'holdfast-guard-'));
  readonly bases: BackupJob[] = [];
  status: LogStatus | undefined;
  runBase: (job: BackupJob) => Promise<JobOutcome> = async () => DONE;
  readonly deps = { ...testJobDeps(new MemoryVault().client), stateDir: this.stateDir };
  #guard: LogGuard | undefined;

  start(settings: Settings): void {
    this.status = undefined;
    this.#guard = new LogGuard(mariadbSource(settings), {
      identity: () => this.deps.identity,
      vault: this.deps.vault,
      logs: this.log.client,
      clock: systemClock,
      random: () => 0,
      log: silentLog,
      stateDir: this.stateDir,
      runBackup: (job) => {
        this.bases.push(job);
        return this.runBase(job);
      },
      report: ({ log }) => {
        this.status = log;
      },
    });
    this.#guard.start();
  }

  async stop(): Promise<void> {
    await this.#guard?.stop();
    this.#guard = undefined;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  /** The files that the vault's newest stream has, put together from its pieces. */
  files(): Map<string, Buffer> {
    const { domainSecret, domainId } = this.deps.identity;
    const keys = new KeyRing(domainSecret ?? Buffer.alloc(0), domainId);
    const files = new Map<string, Buffer>();
    const newest = this.log.segments.at(-1)?.range.stream.systemIdentifier;
    for (const { id, envelope, range } of this.log.segments) {
      if (range.stream.systemIdentifier !== newest) continue;
      const { plain } = keys.open(envelope, { id, kind: ObjectKind.logSegment });
      const places = placesOf({ start: fromLogPosition(range.start), end: fromLogPosition(range.end) }, plain);
      for (const { file, bytes } of places) {
        files.set(file, Buffer.concat([files.get(file) ?? Buffer.alloc(0), bytes]));
      }
    }
    return files;
  }
}

/** Waits until `check` no longer throws; after 30 s its error is the test's. */
export async function untilHolds(check: () => void): Promise<void> {
  const until = performance.now() + 30_000;
  for (;;) {
    try {
      check();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
    }
    await delay(50);
  }
}
