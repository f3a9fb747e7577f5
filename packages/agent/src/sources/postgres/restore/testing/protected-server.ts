// A PostgreSQL server that is protected, with a vault in memory, and what is restored of it.

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import { Client } from 'pg';
import type { EngineRestore, EngineSpec, JobReport, ReachedPoint, RestoreJob } from '../../../../jobs/job.ts';
import { EngineBench } from '../../../../testing/engine-bench.ts';
import type { PostgresServer } from '../../../../testing/postgres-server.ts';
import { postgresEngine } from '../../engine.ts';
import { parseLsn } from '../../log/lsn.ts';

/** A source that is followed, with two committed states at known points. */
export class ProtectedServer {
  readonly bench: EngineBench;
  readonly root = mkdtempSync(join(tmpdir(), 'holdfast-restored-'));
  readonly started: number[] = [];
  readonly server: PostgresServer;
  snapshot!: Buffer;

  constructor(server: PostgresServer, settings: Record<string, string> = {}) {
    this.server = server;
    chmodSync(this.root, 0o755);
    const source: EngineSpec = {
      sourceId: 'db-1',
      name: 'db',
      type: 'engine',
      engine: { type: 'postgres', settings: { dsn: server.dsn, baseEvery: 'off', ...settings } },
      hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
      limitBytesPerSecond: 0,
      compression: { codec: 'zstd', level: 0 },
    };
    this.bench = new EngineBench({ engine: postgresEngine, source });
    this.bench.guard();
  }

  /** The base that the guard has taken by itself. */
  async firstBase(): Promise<void> {
    for (let tries = 0; this.bench.vault.snapshots.length === 0; tries++) {
      if (tries > 400)
        throw new Error(
          `no base: ${JSON.stringify(this.bench.reports.at(-1), (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v))}`,
        );
      await wait(50);
    }
    this.snapshot = this.bench.vault.snapshots.at(-1)!;
  }

  /** What the server has written is in the vault. */
  async caughtUp(): Promise<string> {
    const [row] = await this.server.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
    const wanted = parseLsn(row!.lsn);
    for (let tries = 0; (this.stored?.order ?? 0n) < wanted; tries++) {
      if (tries > 400) throw new Error('the log is not stored');
      await wait(25);
    }
    return row!.lsn;
  }

  get stored() {
    const ends = this.bench.log.segments.filter(({ range }) => range.file === '').map(({ range }) => range.end);
    return ends.toSorted((a, b) => (a.order < b.order ? 1 : -1))[0];
  }

  engine(target: RecoveryTarget, more: Partial<EngineRestore> = {}): Partial<EngineRestore> {
    const index = this.bench.vault.snapshots.findIndex((id) => id.equals(this.snapshot));
    const base = this.bench.vault.points[index]!;
    const log = { stream: base.stream, end: this.stored!, grant: Buffer.alloc(0) };
    return { base, target, log, ...more };
  }

  async restore(
    name: string,
    target: RecoveryTarget,
    more: Partial<EngineRestore> = {},
    job: Partial<RestoreJob> = {},
    ending?: AbortController,
  ): Promise<JobReport> {
    const directory = join(this.root, name);
    const report = await this.bench.restore(
      this.snapshot,
      directory,
      this.engine(target, { start: true, port: 5502, ...more }),
      job,
      ending,
    );
    if (existsSync(join(directory, 'postmaster.pid'))) {
      this.started.push(Number(readFileSync(join(directory, 'postmaster.pid'), 'utf8').split('\n')[0]));
    }
    return report;
  }

  async close(): Promise<void> {
    await this.bench.close();
    for (const pid of this.started) {
      try {
        process.kill(pid, 'SIGQUIT');
      } catch {
        // The test has ended it.
      }
    }
    for (const pid of this.started) while (existsSync(`/proc/${pid}`)) await wait(20);
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}

export async function ask(reached: ReachedPoint | undefined, text: string): Promise<Record<string, unknown>> {
  const [, host, port] = /^host=(.*) port=(\d+)$/.exec(reached!.connect)!;
  const client = new Client({ host: host!, port: Number(port), user: 'postgres', database: 'postgres' });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows[0]!;
  } finally {
    await client.end();
  }
}
