// The units that only a host that serves may run: started in order while it serves, stopped in the opposite order, all of them.
//
// Hazard: a start that was decided before a pause goes on after it, beside the successor's. So each unit's start asks anew, and a stop ends
// every start that is under way first.
//
// Tested in application-host.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Services } from '../contract.ts';

const TRIES = 3;
const BETWEEN_TRIES_MS = 2000;

export class ProtectedUnits {
  readonly #units: readonly string[];
  readonly #services: Services;
  readonly #clock: Clock;
  readonly #log: (event: string, fields: Record<string, unknown>) => void;
  #starting = new AbortController();
  #done: Promise<void> = Promise.resolve();

  constructor(
    units: readonly string[],
    services: Services,
    clock: Clock,
    log: (event: string, fields: Record<string, unknown>) => void,
  ) {
    this.#units = units;
    this.#services = services;
    this.#clock = clock;
    this.#log = log;
  }

  /** One of them; an application without units counts as running. */
  async anyRuns(): Promise<boolean> {
    if (this.#units.length === 0) return true;
    for (const unit of this.#units) {
      const runs = await this.#services.runs(unit, NEVER).catch((error: unknown) => {
        this.#log('failover.unit-not-known', { unit, error: toHoldfastError(error).message });
        return false;
      });
      if (runs) return true;
    }
    return false;
  }

  /** In the background, while `may` says so. */
  startAll(may: () => boolean): void {
    this.abandon();
    const { signal } = (this.#starting = new AbortController());
    const before = this.#done;
    const startEach = async (): Promise<void> => {
      await before;
      for (const unit of this.#units) await this.#start(unit, may, signal);
    };
    this.#done = startEach();
  }

  /** Ends what is being started, without stopping what runs. */
  abandon(): void {
    this.#starting.abort();
  }

  /** Resolves when none runs any more. Throws FAILED_PRECONDITION with those that could not be stopped. */
  async stopAll(): Promise<void> {
    this.abandon();
    await this.#done;
    const left: string[] = [];
    for (const unit of this.#units.toReversed()) {
      try {
        await this.#services.stop(unit, NEVER);
      } catch (error) {
        const failure = toHoldfastError(error);
        // What this host does not know, it does not run.
        if (failure.code !== 'NOT_FOUND') left.push(`${unit}: ${failure.message}`);
      }
    }
    if (left.length > 0) throw new HoldfastError('FAILED_PRECONDITION', `could not be stopped: ${left.join('; ')}`);
  }

  async #start(unit: string, may: () => boolean, signal: AbortSignal): Promise<void> {
    for (let tried = 1; tried <= TRIES; tried++) {
      if (signal.aborted || !may()) return;
      try {
        await this.#services.start(unit, signal);
        return;
      } catch (error) {
        this.#log('failover.unit-not-started', { unit, tried, error: toHoldfastError(error).message });
      }
      await sleep(this.#clock, BETWEEN_TRIES_MS, signal);
    }
  }
}

const NEVER = new AbortController().signal;
