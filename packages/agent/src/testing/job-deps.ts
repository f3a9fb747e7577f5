// What a pipeline is given, for tests: an identity of the test domain, no limits, nothing logged.

import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { JobDeps, JobOutcome, RestoreJob, VerifyJob } from '../jobs/job.ts';
import { EMPTY_SUMMARY, outcomeOfReport } from '../jobs/outcome.ts';
import { wholeRestore } from '../jobs/whole-restore.ts';
import type { VaultClient } from '../link/vault-port.ts';
import { TEST_DOMAIN, TEST_SECRET } from './snapshot-builder.ts';

export const TEST_HOST = 'host-1';
/** Signs the records of TEST_HOST. */
export const testHostKey = generateKeyPairSync('ed25519').privateKey;

/** Of a job that had nothing to do, and did it. */
export const DONE: JobOutcome = outcomeOfReport({ summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 }, []);

export function testJobDeps(vault: VaultClient): JobDeps {
  return {
    identity: {
      hostId: TEST_HOST,
      hostName: TEST_HOST,
      domainId: TEST_DOMAIN,
      domainName: TEST_DOMAIN,
      keyEpoch: 0,
      domainSecret: TEST_SECRET,
      recordKeyPem: testHostKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      tlsKeyPem: '',
      certificateChainPem: '',
      caCertificatePem: '',
      controllerAddress: '',
    },
    vault,
    clock: systemClock,
    log: silentLog,
    limiter: { take: async () => {} },
    stateDir: tmpdir(),
  };
}

export function verifyJob(rest: Partial<VerifyJob> = {}): VerifyJob {
  return { kind: 'verify', jobId: 'job-1', grant: Buffer.from('grant'), paths: [], limitBytesPerSecond: 0, ...rest };
}

export function restoreJob(target: string, rest: Partial<RestoreJob> = {}): RestoreJob {
  return { ...wholeRestore(verifyJob(), target), ...rest };
}
