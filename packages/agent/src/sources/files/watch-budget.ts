// How many directories this agent may watch.
//
// Hazard: inotify watches are one pool per user. An agent that takes them all breaks every editor, container runtime and
// mail server of that user, and they say so in strange ways. So no more than half of the kernel's limit is ever used. A
// watched directory also costs about 8 KiB of memory (measured), so the default stays well below what a kernel allows.
//
// Invariants (continuous-source.test.ts): U1 never more than half of the kernel's limit; U2 what sources hold together never
// exceeds the budget.

import { readFileSync } from 'node:fs';

export const DEFAULT_WATCHES = 10_000;

/** Watches that the whole agent may use. @param kernelLimit fs.inotify.max_user_watches, undefined when not known */
export function watchBudget(configured: number, kernelLimit: number | undefined): number {
  return Math.max(0, Math.min(configured, Math.floor((kernelLimit ?? 8192) / 2)));
}

export function kernelWatchLimit(): number | undefined {
  try {
    const limit = Number(readFileSync('/proc/sys/fs/inotify/max_user_watches', 'utf8'));
    return Number.isSafeInteger(limit) ? limit : undefined;
  } catch {
    return undefined;
  }
}

/** The agent's watches, shared by its sources. */
export class WatchPool {
  readonly budget: number;
  readonly #held = new Map<string, number>();

  constructor(budget: number) {
    this.budget = budget;
  }

  /** What `sourceId` may use, given what the others hold. */
  allowance(sourceId: string): number {
    let others = 0;
    for (const [holder, watches] of this.#held) if (holder !== sourceId) others += watches;
    return Math.max(0, this.budget - others);
  }

  /** Sets what `sourceId` holds. False, and nothing is changed, when that is beyond its allowance. */
  hold(sourceId: string, watches: number): boolean {
    if (watches > this.allowance(sourceId)) return false;
    this.#held.set(sourceId, watches);
    return true;
  }

  release(sourceId: string): void {
    this.#held.delete(sourceId);
  }
}
