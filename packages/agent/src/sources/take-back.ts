// Takes back what sources held elsewhere and hold no more, until it is done: also what an earlier agent left.
//
// Invariants (source-protection.test.ts): T1 what no listed source holds is taken back, and what one holds is not; T2 what could not be
// reached is tried again, also by the next agent; T3 a source waits for what is being taken back in its name.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import type { SourceSpec } from '../jobs/job.ts';
import type { SourceEngine } from './engine.ts';
import { forgetHeld, heldTypes, listHeld, type Held } from './held-elsewhere.ts';
import { engineTypeOf, type EngineRegistry } from './registry.ts';

export interface TakeBackDeps {
  readonly registry: EngineRegistry;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
  readonly stateDir: string;
}

const RETRY = { firstMs: 5000, capMs: 600_000 };
const LEAST_MS = 1000;

export class TakeBack {
  readonly #deps: TakeBackDeps;
  readonly #stopping = new AbortController();
  #listed: readonly SourceSpec[] = [];
  #running: Promise<void> | undefined;
  /** Another list came while it ran. */
  #again = false;
  #waiting = new AbortController();
  #now: { readonly sourceId: string; readonly done: Promise<void> } | undefined;

  constructor(deps: TakeBackDeps) {
    this.#deps = deps;
  }

  /**
   * @param listed all sources of this host, from now on
   * @param ended resolves when no former guard of theirs uses what it held
   */
  async update(listed: readonly SourceSpec[], ended: Promise<unknown>): Promise<void> {
    this.#listed = listed;
    await ended;
    this.#again = true;
    this.#waiting.abort();
    if (this.#stopping.signal.aborted) return;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  /** Nothing is being taken back in this source's name. */
  async free(sourceId: string): Promise<void> {
    if (this.#now?.sourceId === sourceId) await this.#now.done;
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new HoldfastError('CANCELLED', 'the agent stops'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, stateDir, log } = this.#deps;
    const { signal } = this.#stopping;
    for (let failures = 0; !signal.aborted;) {
      this.#again = false;
      let left = 0;
      for (const type of heldTypes(stateDir)) {
        left += await this.#takeBackOf(type).catch((error: unknown) => {
          log.error('source.held-unknown', { type, error: toHoldfastError(error) });
          return 0;
        });
      }
      if (this.#again) continue;
      if (left === 0) return;
      failures++;
      this.#waiting = new AbortController();
      const waitMs = Math.max(LEAST_MS, backoffMs(RETRY, failures, random()));
      await sleep(clock, waitMs, AbortSignal.any([signal, this.#waiting.signal]));
    }
  }

  /** How much could not be taken back. */
  async #takeBackOf(type: string): Promise<number> {
    const { registry, stateDir, log } = this.#deps;
    let left = 0;
    let engine: SourceEngine | undefined;
    for (const held of listHeld(stateDir, type)) {
      engine ??= await registry.engine(type);
      if (engine.heldElsewhere === undefined || this.#stopping.signal.aborted) return 0;
      if (this.#isHeld(type, engine, held)) continue;
      const done = this.#takeBackOne(type, engine.heldElsewhere, held);
      this.#now = { sourceId: held.sourceId, done: done.then(() => undefined) };
      const error = await done;
      this.#now = undefined;
      if (error === undefined) continue;
      left++;
      log.warn('source.held-still', { sourceId: held.sourceId, held: held.key, error: error.message });
    }
    return left;
  }

  async #takeBackOne(
    type: string,
    engine: NonNullable<SourceEngine['heldElsewhere']>,
    held: Held,
  ): Promise<HoldfastError | undefined> {
    const { clock, log, stateDir } = this.#deps;
    try {
      await engine.takeBack(held, clock);
      forgetHeld(stateDir, type, held.key);
      log.info('source.held-taken-back', { sourceId: held.sourceId, held: held.key });
      return undefined;
    } catch (error) {
      return toHoldfastError(error);
    }
  }

  #isHeld(type: string, engine: SourceEngine, held: Held): boolean {
    const source = this.#listed.find(({ sourceId }) => sourceId === held.sourceId);
    return source !== undefined && engineTypeOf(source) === type && engine.heldElsewhere?.keyOf(source) === held.key;
  }
}
