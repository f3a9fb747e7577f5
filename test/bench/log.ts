// How far behind a followed PostgreSQL log is, and what following it costs: the guard alone, against a real server under pgbench, with
// a vault that stores after a fixed delay and keeps nothing. (`bench db` measures the whole way.)
//
//   node --expose-gc --conditions=holdfast-source test/bench/log.ts [seconds] [clients] [delay in ms]

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { testJobDeps } from '@holdfast/agent/testing/job-deps';
import { MemoryVault } from '@holdfast/agent/testing/memory-vault';
import type { LogClient, SealedLogSegment } from '@holdfast/agent/link/log-port';
import type { SourceReport } from '@holdfast/agent/link/control-wire';
import type { EngineSpec } from '@holdfast/agent/jobs/job';
import { EMPTY_SUMMARY, outcomeOfReport } from '@holdfast/agent/jobs/outcome';
import { silentLog } from '@holdfast/shared/runtime/log';
import { systemClock } from '@holdfast/shared/runtime/clock';

const [seconds = '20', clients = '4', storeMs = '5'] = process.argv.slice(2);
const MIB = 1024 * 1024;

/** Stores in order, each `storeMs` after it was sent, in batches as the vault does. */
function forgetfulLog(stored: (segment: SealedLogSegment) => void): LogClient {
  return {
    openLogRead: () => Promise.reject(new Error('nothing is kept')),
    openLog: async () => {
      const waiting: SealedLogSegment[] = [];
      let count = 0;
      let storing = false;
      const session = {
        ends: [],
        baseNeeded: true,
        windowBytes: 16 * MIB,
        onStored: (_count: number): void => undefined,
        send: async (segment: SealedLogSegment) => {
          waiting.push(segment);
          if (!storing) void store();
        },
        gap: async () => undefined,
        ended: () => new Promise<void>(() => undefined),
        close: () => undefined,
      };
      const store = async (): Promise<void> => {
        storing = true;
        while (waiting.length > 0) {
          const batch = waiting.splice(0);
          await delay(Number(storeMs));
          for (const segment of batch) stored(segment);
          count += batch.length;
          session.onStored(count);
        }
        storing = false;
      };
      return session;
    },
  };
}

function rssMib(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss() / MIB;
}

const server = await PostgresServer.start({ settings: { max_wal_size: '8GB', shared_buffers: '256MB' } });
const stateDir = mkdtempSync(join(tmpdir(), 'holdfast-bench-log-'));
try {
  server.fillPgbench(10);
  await server.query('checkpoint');
  const lags: number[] = [];
  let plainBytes = 0;
  let envelopeBytes = 0;
  let pieces = 0;
  let merged = 0;
  const before = rssMib();
  const { guardLog } = await import('@holdfast/agent/sources/postgres/log/guard');
  const { connect, addressOf } = await import('@holdfast/agent/sources/postgres/connection');
  const source: EngineSpec = {
    type: 'engine',
    sourceId: randomUUID(),
    name: 'db',
    engine: { type: 'postgres', settings: { dsn: server.dsn } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
  const deps = testJobDeps(new MemoryVault().client);
  let last: SourceReport | undefined;
  const logs = forgetfulLog(({ range, envelope }) => {
    envelopeBytes += envelope.length;
    if (range.merged) merged++;
    else {
      pieces++;
      plainBytes += Number(range.end.order - range.start.order);
      if (range.firstCommitAtMs !== undefined) lags.push(Date.now() - range.firstCommitAtMs);
    }
  });
  const address = addressOf(source.engine.settings);
  const guard = guardLog(source, {
    identity: () => deps.identity,
    vault: deps.vault,
    logs,
    access: {
      applicationName: 'holdfast',
      local: true,
      connect: (kind) => connect(address, { kind, applicationName: 'holdfast' }),
    },
    settings: { walKeepBytes: undefined, baseEveryMs: 86_400_000, watchMs: 5000 },
    clock: systemClock,
    random: Math.random,
    log: silentLog,
    stateDir,
    runBackup: async () => outcomeOfReport({ summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 }, []),
    report: (report) => void (last = report),
  });
  await delay(8000);
  const atRest = rssMib();
  const idleFrom = process.cpuUsage();
  await delay(10_000);
  const idle = process.cpuUsage(idleFrom);
  lags.length = 0;
  plainBytes = envelopeBytes = pieces = merged = 0;
  const from = process.cpuUsage();
  let most = 0;
  const sampling = setInterval(() => (most = Math.max(most, process.memoryUsage.rss() / MIB)), 100);
  const output = await server.pgbench(['-c', clients, '-T', seconds]).ended;
  await delay(1500);
  clearInterval(sampling);
  const used = process.cpuUsage(from);
  const cpuMs = (used.user + used.system) / 1000;
  lags.sort((a, b) => a - b);
  const at = (share: number): number => lags[Math.min(lags.length - 1, Math.floor(lags.length * share))] ?? 0;
  await delay(3000);
  const facts = {
    tps: Number(/tps = ([\d.]+)/.exec(output)?.[1]),
    walMiB: Math.round(plainBytes / MIB),
    storedMiB: Math.round(envelopeBytes / MIB),
    pieces,
    merged,
    lagMs: { p50: at(0.5), p99: at(0.99), max: lags.at(-1) },
    cpuMsPer100MiB: Math.round(cpuMs / (plainBytes / MIB / 100)),
    idleCpuMsPerSecond: (idle.user + idle.system) / 10_000,
    rssMiB: {
      before: Math.round(before),
      atRest: Math.round(atRest),
      most: Math.round(most),
      after: Math.round(rssMib()),
    },
    state: last?.log?.state,
    note: last?.note,
  };
  process.stdout.write(`${JSON.stringify(facts, undefined, 1)}\n`);
  await guard.stop();
} finally {
  await server.remove();
  rmSync(stateDir, { recursive: true, force: true });
}
