// The agent's backup pipeline alone, against a vault in memory that keeps nothing but ids: what the scan, the seal and the
// threads cost without a network and a disk behind them.
//
//   ./dev node --conditions=holdfast-source test/bench/pipeline.ts DIR [RUNS]

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runBackup } from '@holdfast/agent/backup/backup';
import type { BackupJob, FilesSpec, JobDeps } from '@holdfast/agent/jobs/job';
import type { BackupSession, VaultClient } from '@holdfast/agent/link/vault-port';
import { fromText } from '@holdfast/shared/base/byte-string';
import { systemClock } from '@holdfast/shared/runtime/clock';

const known = new Set<string>();
let latest: { id: Uint8Array; sequence: number } | undefined;

function session(): BackupSession {
  let sent = 0;
  let bytes = 0;
  const self: BackupSession = {
    sessionId: 'bench',
    latestSnapshotId: latest?.id,
    latestSequence: latest?.sequence ?? 0,
    baseDamaged: false,
    windowBytes: 64 * 1024 * 1024,
    probe: async (ids) => {
      const present = new Uint8Array(ids.length / 32);
      for (let i = 0; i < present.length; i++) {
        present[i] = known.has(Buffer.from(ids.subarray(i * 32, i * 32 + 32)).toString('latin1')) ? 1 : 0;
      }
      return present;
    },
    send: async ({ id, envelope }) => {
      known.add(Buffer.from(id).toString('latin1'));
      sent++;
      bytes += envelope.length;
      self.onStored?.(sent, bytes);
    },
    get storedCount() {
      return sent;
    },
    get newBytes() {
      return bytes;
    },
    onStored: undefined,
    drained: async () => undefined,
    commit: async ({ recordId, sequence }) => {
      latest = { id: recordId, sequence };
      return { snapshotId: recordId, committedAtMs: Date.now() };
    },
    close: () => undefined,
  };
  return self;
}

const directory = resolve(process.argv[2] ?? '/usr/share/doc');
const runs = Number(process.argv[3] ?? 2);
const stateDir = mkdtempSync(join(tmpdir(), 'holdfast-pipeline-'));
const { privateKey } = generateKeyPairSync('ed25519');
const quiet = { error() {}, warn() {}, info() {}, debug() {} };
const deps = {
  identity: {
    hostId: 'host',
    domainId: 'domain',
    keyEpoch: 0,
    domainSecret: randomBytes(32),
    recordKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }),
  },
  vault: { openBackup: async () => session() } as Partial<VaultClient>,
  clock: systemClock,
  log: quiet,
  limiter: { take: async () => undefined },
  stateDir,
} as unknown as JobDeps;
const job: BackupJob<FilesSpec> = {
  kind: 'backup',
  jobId: '',
  fullRead: false,
  source: {
    sourceId: 'bench',
    name: 'bench',
    type: 'files',
    files: {
      paths: [fromText(directory)],
      excludes: [],
      includes: [],
      oneFileSystem: false,
      excludeCaches: false,
      continuous: false,
      scanEverySeconds: 0,
    },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  },
};

try {
  for (let run = 0; run < runs; run++) {
    const cpu = process.cpuUsage();
    const started = performance.now();
    const { summary, warnings, warningsTotal } = await runBackup(
      job,
      deps,
      new AbortController().signal,
      () => undefined,
    );
    const { user, system } = process.cpuUsage(cpu);
    const { entries, bytesRead, bytesNew, bytesStored } = summary;
    console.log(
      `run ${run}: ${((performance.now() - started) / 1000).toFixed(2)} s wall, ${(user / 1e6).toFixed(2)} user, ${(system / 1e6).toFixed(2)} sys, ` +
        `${entries} entries, ${(bytesRead / 1e6).toFixed(0)} MB read, ${(bytesNew / 1e6).toFixed(0)} new, ${(bytesStored / 1e6).toFixed(1)} stored, ` +
        `${warningsTotal} warnings, ${Math.round(process.memoryUsage().rss / 1048576)} MiB`,
    );
    for (const warning of warnings.slice(0, 5)) console.log(warning);
  }
} finally {
  rmSync(stateDir, { recursive: true });
}
