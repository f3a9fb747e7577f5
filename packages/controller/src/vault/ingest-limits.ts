// What one host, one stream and the process may hold (threat 41). Every number has a reason; tests and a policy may lower them.

import { MAX_ENVELOPE_BYTES, MAX_REFERENCES } from '@holdfast/shared/format/envelope';

export interface VaultLimits {
  /** Backup streams of one host at a time; an agent runs one a source. */
  readonly streamsPerHost: number;
  /** Sources of one host whose logs are stored at a time. */
  readonly logsPerHost: number;
  /** Live sessions of one host in the catalog, streams or not. */
  readonly sessionsPerHost: number;
  readonly objectBytes: number;
  readonly objectReferences: number;
  /** Bytes received and not yet acknowledged, for one stream: a window must hold the largest object. */
  readonly windowBytes: number;
  /** The same for all streams together. */
  readonly bufferedBytes: number;
  /** A stream without a message for this long is ended; its session lives on. */
  readonly idleMs: number;
  /** An object whose last piece has not come this long after its first ends the stream. */
  readonly objectMs: number;
  readonly sessionLeaseMs: number;
  readonly writerLeaseMs: number;
  /** A domain that stored nothing for this long has its open packs sealed. */
  readonly sealIdleMs: number;
  readonly packTargetBytes: number;
  /** Bytes that a reading stream may hold read ahead. */
  readonly readAheadBytes: number;
  readonly grantTtlMs: number;
  /** A call of the target that has not returned by then (and more for many bytes) is given up, and the target counts as hung. */
  readonly storageStallMs: number;
}

export const DEFAULT_LIMITS: VaultLimits = {
  streamsPerHost: 8,
  logsPerHost: 64,
  sessionsPerHost: 64,
  objectBytes: MAX_ENVELOPE_BYTES,
  objectReferences: MAX_REFERENCES,
  windowBytes: 24 * 1024 * 1024,
  bufferedBytes: 256 * 1024 * 1024,
  idleMs: 5 * 60_000,
  objectMs: 10 * 60_000,
  sessionLeaseMs: 15 * 60_000,
  writerLeaseMs: 30_000,
  sealIdleMs: 10 * 60_000,
  packTargetBytes: 64 * 1024 * 1024,
  readAheadBytes: 16 * 1024 * 1024,
  grantTtlMs: 24 * 60 * 60_000,
  storageStallMs: 60_000,
};

/** Bytes that all streams share. Whole objects are reserved at once, so two half-received ones never wait for each other. */
export class ByteBudget {
  #freeBytes: number;
  readonly #waiting: { readonly bytes: number; readonly grant: () => void }[] = [];

  constructor(totalBytes: number) {
    this.#freeBytes = totalBytes;
  }

  /** Resolves once `bytes` are reserved, first come first served. */
  acquire(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && bytes <= this.#freeBytes) {
      this.#freeBytes -= bytes;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#waiting.push({ bytes, grant: resolve }));
  }

  release(bytes: number): void {
    this.#freeBytes += bytes;
    while (this.#waiting.length > 0 && this.#waiting[0]!.bytes <= this.#freeBytes) {
      const next = this.#waiting.shift()!;
      this.#freeBytes -= next.bytes;
      next.grant();
    }
  }
}
