// How much may still be stored: free space that is kept on the target, and quotas of domains.
//
// Hazard: a target that is filled to the last byte takes the catalog beside it down, and one domain's flood takes the room of
// all others (threats 5, and "floods snapshots"). So uploads are refused while less than the reserve is free, and when a
// domain has stored its quota; what is stored stays readable, and restores go on.
//
// What is known of a target and of a domain is a sample, taken now and then; what was let in since counts as stored until the next one.
//
// Invariants (room.test.ts): RM1 nothing is let in that would leave less than the reserve by what is known; RM2 nor beyond a
// quota; RM3 an unknown target refuses nothing.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';

import type { Space } from './storage.ts';

const GIB = 2 ** 30;
/** Of which the lesser is kept free, where nothing was said. */
const RESERVE = { part: 0.02, bytes: GIB };
/** It is time to look for room when less than this many reserves are free. */
const WARN_RESERVES = 5;
/** And when a domain has stored this much of its quota. */
const WARN_OF_QUOTA = 0.9;

/** @param configured bytes, when the settings say so */
export function reserveOf(totalBytes: number, configured: number | undefined): number {
  return configured ?? Math.min(RESERVE.bytes, Math.floor(totalBytes * RESERVE.part));
}

/** What the status says of the target. */
export function spaceWarning(
  space: Space,
  reserveBytes: number,
): { level: 'critical' | 'warning'; message: string } | undefined {
  if (space.freeBytes < reserveBytes)
    return { level: 'critical', message: 'the disk of the vault is full: backups are refused' };
  if (space.freeBytes < reserveBytes * WARN_RESERVES)
    return { level: 'warning', message: 'the disk of the vault is nearly full' };
  return undefined;
}

export function quotaWarning(
  storedBytes: number,
  quotaBytes: number,
): { level: 'critical' | 'warning'; message: string } | undefined {
  if (quotaBytes === 0 || storedBytes < quotaBytes * WARN_OF_QUOTA) return undefined;
  return storedBytes >= quotaBytes
    ? { level: 'critical', message: 'the domain has stored its quota: backups are refused' }
    : { level: 'warning', message: 'the domain has stored nine tenths of its quota' };
}

export interface RoomDeps {
  readonly clock: Clock;
  readonly space: () => Promise<Space>;
  /** Bytes; undefined: the default. */
  readonly reserveBytes: number | undefined;
  /** 0: none. */
  readonly quotaBytes: (domainId: string) => Promise<number>;
  readonly storedBytes: (domainId: string) => Promise<number>;
}

interface Usage {
  readonly storedBytes: number;
  readonly quotaBytes: number;
  /** Let in since the sample. */
  admittedBytes: number;
}

const SAMPLE_MS = 5_000;

export class Room {
  readonly #deps: RoomDeps;
  readonly #usage = new Map<string, Usage>();
  #space: Space | undefined;
  #admittedBytes = 0;
  #sampledAtMs = Number.NEGATIVE_INFINITY;
  #sampling: Promise<void> | undefined;
  /** Since the last sample. */
  #refused = false;

  constructor(deps: RoomDeps) {
    this.#deps = deps;
  }

  /** The last sample; undefined before the first, and while the target does not answer. */
  get space(): (Space & { readonly reserveBytes: number }) | undefined {
    const space = this.#space;
    return space && { ...space, reserveBytes: reserveOf(space.totalBytes, this.#deps.reserveBytes) };
  }

  /** Looks again, once at a time. Never throws. */
  sample(): Promise<void> {
    this.#sampling ??= this.#look().finally(() => (this.#sampling = undefined));
    return this.#sampling;
  }

  /** A domain that begins to store is sampled from now on. */
  async enter(domainId: string): Promise<void> {
    // What was refused a moment ago may fit by now: somebody was told to make room.
    if (this.#refused) await this.sample();
    if (!this.#usage.has(domainId)) this.#usage.set(domainId, await this.#usageOf(domainId));
  }

  /** Throws STORAGE_FULL (RM1), LIMIT_EXCEEDED (RM2). */
  admit(domainId: string, bytes: number): void {
    if (this.#deps.clock.monotonicMs() - this.#sampledAtMs >= SAMPLE_MS) void this.sample();
    const { space } = this;
    if (space !== undefined && space.freeBytes - this.#admittedBytes - bytes < space.reserveBytes) {
      this.#refused = true;
      throw new HoldfastError('STORAGE_FULL', 'the target of the vault is full: it takes no more uploads', {
        hint: 'Make room on the disk of the controller, or move the vault to a larger one. What was stored is safe.',
      });
    }
    const usage = this.#usage.get(domainId);
    if (usage !== undefined && usage.quotaBytes > 0) {
      if (usage.storedBytes + usage.admittedBytes + bytes > usage.quotaBytes) {
        this.#refused = true;
        throw new HoldfastError('LIMIT_EXCEEDED', 'the domain has stored as much as its quota allows', {
          hint: 'Raise the quota in the settings of the controller. What was stored is safe.',
        });
      }
      usage.admittedBytes += bytes;
    }
    this.#admittedBytes += bytes;
  }

  async #look(): Promise<void> {
    this.#sampledAtMs = this.#deps.clock.monotonicMs();
    this.#refused = false;
    const admittedBefore = this.#admittedBytes;
    try {
      this.#space = await this.#deps.space();
      // What was let in while the target answered may or may not be in its answer.
      this.#admittedBytes -= admittedBefore;
    } catch {
      this.#space = undefined;
    }
    for (const domainId of this.#usage.keys()) {
      try {
        this.#usage.set(domainId, await this.#usageOf(domainId));
      } catch {
        // The catalog is away; the old sample goes on counting.
      }
    }
  }

  async #usageOf(domainId: string): Promise<Usage> {
    const quotaBytes = await this.#deps.quotaBytes(domainId);
    const before = this.#usage.get(domainId)?.admittedBytes ?? 0;
    const storedBytes = quotaBytes === 0 ? 0 : await this.#deps.storedBytes(domainId);
    const since = (this.#usage.get(domainId)?.admittedBytes ?? 0) - before;
    return { storedBytes, quotaBytes, admittedBytes: since };
  }
}
