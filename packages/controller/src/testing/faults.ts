// Faults at will: the n-th call fails once or from then on, or the machine dies there.
//
// One counter runs over all decorated ports (storage, catalog), so that a loop over 1, 2, 3 … meets every call of a run, as
// SQLite's tests do (https://www.sqlite.org/testing.html, "I/O error testing" and "crash testing").

import { HoldfastError } from '@holdfast/shared/base/errors';

export type FaultPlan =
  | { readonly kind: 'none' }
  /** Calls `at` (counted from 1) fails; with `lasting` every later one, too. */
  | { readonly kind: 'fail'; readonly at: number; readonly lasting: boolean; readonly errno: string }
  /** Everything from call `at` on throws, as after SIGKILL or a power cut. */
  | { readonly kind: 'die'; readonly at: number };

export class Faults {
  readonly #plan: FaultPlan;
  readonly calls: string[] = [];
  /** Whether the planned call was reached. */
  hit = false;

  constructor(plan: FaultPlan = { kind: 'none' }) {
    this.#plan = plan;
  }

  get dead(): boolean {
    return this.#plan.kind === 'die' && this.calls.length >= this.#plan.at;
  }

  /** Counts one call; the error that it shall fail with, if any. */
  next(call: string): Error | undefined {
    const wasDead = this.dead;
    this.calls.push(call);
    const plan = this.#plan;
    if (plan.kind === 'none') return undefined;
    const now = this.calls.length === plan.at || (this.calls.length > plan.at && (plan.kind === 'die' || plan.lasting));
    if (!now) return undefined;
    this.hit = true;
    if (plan.kind === 'die') return new HoldfastError('STORAGE_FAILED', wasDead ? 'dead' : 'dies here');
    return plan.errno === 'ENOSPC'
      ? new HoldfastError('STORAGE_FULL', `${call}: ENOSPC`)
      : new HoldfastError('STORAGE_FAILED', `${call}: ${plan.errno}`);
  }
}
