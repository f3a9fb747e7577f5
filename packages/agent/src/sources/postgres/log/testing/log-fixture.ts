// A guard over a test's own server, with a vault's log in memory: what it stores, reports and asks for can be looked at.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import type { LogStream } from '@holdfast/shared/format/log-point';
import { open } from '@holdfast/shared/format/seal';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog, type Log } from '@holdfast/shared/runtime/log';
import { Client } from 'pg';
import type { BackupJob, EngineSpec, JobOutcome } from '../../../../jobs/job.ts';
import type { SourceReport } from '../../../../link/control-wire.ts';
import { DONE, testJobDeps } from '../../../../testing/job-deps.ts';
import { MemoryLog, type MemorySegment } from '../../../../testing/memory-log.ts';
import { MemoryVault } from '../../../../testing/memory-vault.ts';
import type { PostgresServer } from '../../../../testing/postgres-server.ts';
import type { Guard } from '../../../engine.ts';
import { guardLog, type LogSettings } from '../guard.ts';
import { slotKeyOf, slotNameOf, takeBackSlot } from '../own-slot.ts';
import type { ServerAccess } from '../slot-watch.ts';

export function accessTo(server: PostgresServer): ServerAccess {
  return {
    applicationName: 'holdfast',
    local: false,
    async connect(kind) {
      const client = new Client({
        host: server.directory,
        port: server.port,
        user: 'postgres',
        database: 'postgres',
        application_name: 'holdfast',
        ...(kind === 'replication' ? { replication: 'true' } : {}),
      });
      await client.connect();
      return client;
    },
  };
}

export class LogFixture {
  readonly server: PostgresServer;
  readonly memory = new MemoryLog();
  readonly reports: SourceReport[] = [];
  readonly backups: BackupJob[] = [];
  readonly source: EngineSpec;
  readonly stateDir = mkdtempSync(join(tmpdir(), 'holdfast-log-'));
  readonly deps = { ...testJobDeps(new MemoryVault().client), stateDir: this.stateDir };
  readonly keys = deriveDomainKeys(this.deps.identity.domainSecret!, this.deps.identity.domainId, 0);
  settings: LogSettings = { walKeepBytes: undefined, baseEveryMs: 86_400_000, watchMs: 100 };
  outcome: () => Promise<JobOutcome> = () => Promise.resolve(DONE);
  log: Log = silentLog;
  /** What the guard speaks to the server with, if not with `accessTo`. */
  access: ServerAccess | undefined;
  /** The vault can't be reached. */
  away = false;
  #guard: Guard | undefined;

  constructor(server: PostgresServer) {
    this.server = server;
    this.source = {
      type: 'engine',
      sourceId: randomUUID(),
      name: 'db',
      engine: { type: 'postgres', settings: { dsn: server.dsn } },
      hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
      limitBytesPerSecond: 0,
      compression: { codec: 'zstd', level: 0 },
    };
  }

  get slotName(): string {
    return slotNameOf(this.source.sourceId);
  }

  start(server: PostgresServer = this.server): void {
    this.#guard = guardLog(this.source, {
      identity: () => this.deps.identity,
      vault: this.deps.vault,
      logs: {
        ...this.memory.client,
        openLog: async (request) => {
          if (this.away) throw new HoldfastError('UNREACHABLE', 'the controller is away');
          return this.memory.client.openLog(request);
        },
      },
      access: this.access ?? accessTo(server),
      settings: this.settings,
      clock: systemClock,
      random: Math.random,
      log: this.log,
      stateDir: this.stateDir,
      runBackup: async (job) => {
        this.backups.push(job);
        return this.outcome();
      },
      report: (report) => void this.reports.push(report),
    });
  }

  async stop(): Promise<void> {
    await this.#guard?.stop();
    this.#guard = undefined;
  }

  /** As when the source is taken away. */
  async leave(): Promise<void> {
    await this.stop();
    const { sourceId, engine } = this.source;
    const held = { key: slotKeyOf(sourceId, engine.settings), sourceId, settings: engine.settings };
    await takeBackSlot(held, accessTo(this.server), systemClock);
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  get last(): SourceReport | undefined {
    return this.reports.at(-1);
  }

  /** Pieces of a stream's log, in order. */
  pieces(stream?: LogStream): MemorySegment[] {
    return this.memory.segments
      .filter(({ range }) => range.file === '' && (stream === undefined || range.stream.timeline === stream.timeline))
      .toSorted((a, b) => {
        const byStart = a.range.start.order - b.range.start.order;
        return Number(byStart === 0n ? a.range.end.order - b.range.end.order : byStart);
      });
  }

  plain(segment: MemorySegment): Buffer {
    return open(this.keys, segment.envelope, { id: segment.id }).plain;
  }

  /** What is stored of a stream: `start` and its bytes without a hole; throws where there is one. */
  stored(timeline = 1): { start: bigint; end: bigint; bytes: Buffer } {
    const pieces = this.pieces().filter(({ range }) => range.stream.timeline === timeline);
    const start = pieces[0]?.range.start.order ?? 0n;
    let at = start;
    const parts: Buffer[] = [];
    for (const piece of pieces) {
      const { range } = piece;
      if (range.start.order !== at) throw new Error(`after ${at} comes ${range.start.text}`);
      const plain = this.plain(piece);
      if (BigInt(plain.length) !== range.end.order - range.start.order) throw new Error('a piece of another length');
      parts.push(plain);
      at = range.end.order;
    }
    return { start, end: at, bytes: Buffer.concat(parts) };
  }

  /** The end of what the server has flushed. */
  async flushed(server: PostgresServer = this.server): Promise<bigint> {
    const rows = await server.query<{ lsn: string }>(
      "select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text as lsn",
    );
    return BigInt(rows[0]!.lsn);
  }

  /** Resolves when everything that the server has flushed by now is stored. */
  async caughtUp(timeline = 1): Promise<void> {
    const end = await this.flushed();
    await until(() => this.pieces().some(({ range }) => range.stream.timeline === timeline && range.end.order >= end));
  }
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(20);
}
