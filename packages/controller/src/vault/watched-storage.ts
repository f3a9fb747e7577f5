// A decorator around a target that does not wait for ever: a call that has not returned within a bound fails.
//
// Hazard (threat 7): a hung disk answers nothing, not even with an error. Streams would hang, memory would fill, and the few
// threads that make system calls would all wait. So the first call that is overdue fails with STORAGE_FAILED, and until every overdue
// call has come back, each new one fails at once, without touching the target. When they are back the target is used again.
//
// A call that was given up may still take effect, late. Nothing depends on it: a pack whose write failed is never written again
// (open-pack.ts), and recovery copies it instead of touching it (pack-recovery.ts); and no call follows before it is back.
//
// Invariants (watched-storage.test.ts, hung-disk.db.test.ts):
//   WS1 no call waits longer than `stallMs`, and that again for every SLOW_BYTES that it moves, on the given clock;
//   WS2 while a call is overdue none is begun; after the last one has come back all are;
//   WS3 a file that was made too late is closed, and one with a call on its way is closed after that.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';

import type { AppendFile, Space, VaultStorage } from './storage.ts';

export interface WatchDeps {
  readonly clock: Clock;
  readonly stallMs: number;
  readonly log: (event: string, fields: Record<string, string | number>) => void;
}

export class WatchedStorage implements VaultStorage {
  readonly #inner: VaultStorage;
  readonly #watch: CallWatch;

  constructor(inner: VaultStorage, deps: WatchDeps) {
    this.#inner = inner;
    this.#watch = new CallWatch(deps);
  }

  /** In words, while the target does not answer; empty otherwise. */
  get trouble(): string {
    return this.#watch.trouble;
  }

  async create(name: string): Promise<AppendFile> {
    const making = (): Promise<AppendFile> => this.#inner.create(name);
    const file = await this.#watch.call(`create ${name}`, making, (late) => void late.close().catch(() => undefined));
    return new WatchedFile(name, file, this.#watch);
  }

  syncDirectoryOf(name: string): Promise<void> {
    return this.#watch.call(`sync the directory of ${name}`, () => this.#inner.syncDirectoryOf(name));
  }

  read(name: string, offset: number, length: number): Promise<Buffer> {
    const work = (): Promise<Buffer> => this.#inner.read(name, offset, length);
    return this.#watch.call(`read ${name}`, work, undefined, boundsFor(length));
  }

  size(name: string): Promise<number | undefined> {
    return this.#watch.call(`stat ${name}`, () => this.#inner.size(name));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#watch.call(`rename ${to}`, () => this.#inner.rename(from, to));
  }

  remove(name: string): Promise<void> {
    return this.#watch.call(`remove ${name}`, () => this.#inner.remove(name));
  }

  list(): Promise<string[]> {
    // The one call that grows with the target; it is made when nothing else is under way, and may take its time.
    return this.#watch.call('list the target', () => this.#inner.list(), undefined, LIST_TIMES);
  }

  space(): Promise<Space> {
    return this.#watch.call('ask for free space', () => this.#inner.space());
  }

  close(): Promise<void> {
    return this.#watch.call('close the target', () => this.#inner.close()).catch(() => undefined);
  }
}

const LIST_TIMES = 20;
/** A slow disk that is busy with something else moves this much within a bound. */
const SLOW_BYTES = 32 * 1024 * 1024;

function boundsFor(bytes: number): number {
  return 1 + Math.floor(bytes / SLOW_BYTES);
}

class WatchedFile implements AppendFile {
  readonly #name: string;
  readonly #file: AppendFile;
  readonly #watch: CallWatch;
  readonly #underWay = new Set<Promise<unknown>>();
  #unsyncedBytes = 0;

  constructor(name: string, file: AppendFile, watch: CallWatch) {
    this.#name = name;
    this.#file = file;
    this.#watch = watch;
  }

  append(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.#unsyncedBytes += parts.reduce((sum, part) => sum + part.length, 0);
    return this.#call('write', () => this.#file.append(parts, position));
  }

  sync(): Promise<void> {
    return this.#call('sync', async () => {
      await this.#file.sync();
      this.#unsyncedBytes = 0;
    });
  }

  truncate(length: number): Promise<void> {
    return this.#call('truncate', () => this.#file.truncate(length));
  }

  async close(): Promise<void> {
    if (this.#underWay.size === 0 && this.#watch.trouble === '')
      return await this.#call('close', () => this.#file.close());
    // Not to be waited for, and not to be forgotten either: a descriptor is held.
    void Promise.allSettled(this.#underWay).then(() => this.#file.close().catch(() => undefined));
  }

  #call(what: string, work: () => Promise<void>): Promise<void> {
    const followed = (): Promise<void> => {
      const promise = work();
      const settled = promise.then(
        () => undefined,
        () => undefined,
      );
      this.#underWay.add(settled);
      void settled.then(() => this.#underWay.delete(settled));
      return promise;
    };
    return this.#watch.call(`${what} ${this.#name}`, followed, undefined, boundsFor(this.#unsyncedBytes));
  }
}

/** The calls of one target. */
class CallWatch {
  readonly #deps: WatchDeps;
  /** What is overdue, and since when it is under way. */
  readonly #overdue = new Map<object, { readonly what: string; readonly sinceMs: number }>();

  constructor(deps: WatchDeps) {
    this.#deps = deps;
  }

  get trouble(): string {
    const first = this.#overdue.values().next().value;
    if (first === undefined) return '';
    const seconds = Math.round((this.#deps.clock.monotonicMs() - first.sinceMs) / 1000);
    return `the disk of the vault has not answered for ${seconds} s (${first.what})`;
  }

  /** @param late takes what came after the call was given up @param times how many bounds this call may take */
  call<T>(what: string, work: () => Promise<T>, late?: (value: T) => void, times = 1): Promise<T> {
    if (this.#overdue.size > 0) return Promise.reject(this.#error());
    const { clock, stallMs, log } = this.#deps;
    const sinceMs = clock.monotonicMs();
    const key = {};
    return new Promise((resolve, reject) => {
      const timer = clock.after(
        stallMs * times,
        () => {
          this.#overdue.set(key, { what, sinceMs });
          log('vault.target_hangs', { call: what, ms: clock.monotonicMs() - sinceMs });
          reject(this.#error());
        },
        { background: true },
      );
      const back = (): boolean => {
        timer.cancel();
        if (!this.#overdue.delete(key)) return false;
        log('vault.target_answers', { call: what, ms: clock.monotonicMs() - sinceMs });
        return true;
      };
      work().then(
        (value) => (back() ? late?.(value) : resolve(value)),
        (error: unknown) => {
          back();
          reject(error);
        },
      );
    });
  }

  #error(): HoldfastError {
    return new HoldfastError('STORAGE_FAILED', this.trouble, {
      hint: 'Look at the disk of the controller. What was stored is safe, and backups go on when the disk answers again.',
    });
  }
}
