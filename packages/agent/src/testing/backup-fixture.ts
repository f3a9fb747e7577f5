// Backups of a directory into a vault in memory, for tests of what a source may do to a backup.

import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '@holdfast/shared/base/byte-string';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { runBackup } from '../backup/backup.ts';
import type { BackupJob, FilesSource, FilesSpec, JobDeps, JobReport } from '../jobs/job.ts';
import { MemoryVault } from './memory-vault.ts';

const secret = Buffer.alloc(32, 7);
const recordKeyPem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' });

export class BackupFixture {
  readonly keys = deriveDomainKeys(secret, 'domain', 0);
  readonly work = mkdtempSync(join(tmpdir(), 'holdfast-backup-'));
  /** What is backed up, unless a call says otherwise. */
  readonly source = join(this.work, 'source');
  readonly vault = new MemoryVault();
  #laterMs = 0;

  constructor() {
    mkdirSync(this.source);
  }

  /** A backup long after everything that was written so far. */
  async backUp(files: Partial<FilesSource> = {}, rest: Partial<BackupJob<FilesSpec>> = {}): Promise<JobReport> {
    this.#laterMs += 60_000;
    const job: BackupJob<FilesSpec> = {
      kind: 'backup',
      jobId: 'job',
      fullRead: false,
      source: {
        sourceId: 'source-1',
        name: 'site',
        type: 'files',
        files: {
          paths: [fromText(this.source)],
          excludes: [],
          includes: [],
          oneFileSystem: false,
          excludeCaches: false,
          continuous: false,
          scanEverySeconds: 0,
          ...files,
        },
        hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
        limitBytesPerSecond: 0,
        compression: { codec: 'zstd', level: 0 },
      },
      ...rest,
    };
    return runBackup(job, this.#deps(), new AbortController().signal, () => undefined);
  }

  remove(): void {
    rmSync(this.work, { recursive: true });
  }

  #deps(): JobDeps {
    const identity = { hostId: 'host', domainId: 'domain', keyEpoch: 0, domainSecret: secret, recordKeyPem };
    return {
      identity,
      vault: this.vault.client,
      clock: { ...systemClock, wallMs: () => Date.now() + this.#laterMs },
      log: { error() {}, warn() {}, info() {}, debug() {} },
      limiter: { take: async () => undefined },
      stateDir: join(this.work, 'state'),
    } as unknown as JobDeps;
  }
}
