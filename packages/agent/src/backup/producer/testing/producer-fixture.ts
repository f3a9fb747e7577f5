// Snapshots of scripted producers in a vault in memory.

import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { BackupJob, JobDeps, JobReport } from '../../../jobs/job.ts';
import { MemoryVault } from '../../../testing/memory-vault.ts';
import { runSnapshot, type SnapshotProducer } from '../run-snapshot.ts';
import type { Step } from './scripted-producer.ts';

const secret = Buffer.alloc(32, 9);
const recordKeyPem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' });

export const backupJob: BackupJob = {
  kind: 'backup',
  jobId: 'job',
  fullRead: false,
  source: {
    sourceId: 'source-1',
    name: 'db',
    type: 'engine',
    engine: { type: 'scripted', settings: {} },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'none', level: 0 },
  },
};

export class ProducerFixture {
  readonly keys = deriveDomainKeys(secret, 'domain', 0);
  readonly work = mkdtempSync(join(tmpdir(), 'holdfast-producer-'));
  readonly stateDir = join(this.work, 'state');
  readonly vault = new MemoryVault();

  async run(
    steps: readonly Step[],
    rest: Partial<SnapshotProducer<{ readonly steps: number }>> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<JobReport> {
    return runSnapshot(backupJob, this.deps(), signal, () => undefined, {
      module: siblingModule(import.meta.url, './scripted-producer'),
      data: { steps },
      sourceType: 'scripted',
      ...rest,
    });
  }

  deps(): JobDeps {
    const identity = { hostId: 'host', domainId: 'domain', keyEpoch: 0, domainSecret: secret, recordKeyPem };
    return {
      identity,
      vault: this.vault.client,
      clock: systemClock,
      log: { error() {}, warn() {}, info() {}, debug() {} },
      limiter: { take: async () => undefined },
      stateDir: this.stateDir,
    } as unknown as JobDeps;
  }

  /** The agent has lost what it knew. */
  forget(): void {
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  remove(): void {
    rmSync(this.work, { recursive: true });
  }
}
