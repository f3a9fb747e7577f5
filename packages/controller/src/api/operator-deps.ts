// What the operator's calls are made of.

import type { ByteString } from '@holdfast/shared/base/byte-string';

import type { Browser } from '../browse/browser.ts';
import type { Domain } from '../fleet/domains.ts';
import type { EnrolmentDeps } from '../fleet/enrolment.ts';
import type { JobNewsDesk } from '../fleet/job-news.ts';
import type { LoginLimiter } from '../fleet/login-limiter.ts';
import type { NotifyAttention } from '../recovery/notify/notifier.ts';
import type { Vault } from '../vault/contract.ts';

export interface OperatorDeps extends EnrolmentDeps {
  readonly vault: Pick<Vault, 'grant' | 'grantLog' | 'verify' | 'readObject' | 'state'>;
  readonly news: JobNewsDesk;
  readonly limiter: LoginLimiter;
  readonly browser: (domain: Domain) => Promise<Browser>;
  /** One file's content, in order; see browse/file-content.ts. */
  readonly fileContent: (
    domain: Domain,
    snapshotId: Uint8Array,
    path: ByteString,
    maxBytes: number,
  ) => AsyncGenerator<Buffer>;
  readonly version: string;
  /** What a domain may store; 0: no bound. */
  readonly quotaBytes: (domainName: string) => number;
  readonly nowMs: () => number;
  /** Messages of the domain that did not reach anybody. */
  readonly undelivered: (domainId: string) => Promise<readonly NotifyAttention[]>;
}
