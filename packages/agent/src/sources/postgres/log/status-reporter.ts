// What is reported of a log: when it changed, at most once a second, and every quarter of a minute all the same.

import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { SourceReport } from '../../../link/control-wire.ts';

export const LEAST_MS = 1000;
export const MOST_MS = 15_000;

export class StatusReporter {
  readonly #clock: Clock;
  readonly #current: () => SourceReport;
  readonly #report: (report: SourceReport) => void;
  #last: SourceReport | undefined;
  #lastAtMs = Number.NEGATIVE_INFINITY;
  #soon: Timer | undefined;
  #regular: Timer | undefined;

  constructor(clock: Clock, current: () => SourceReport, report: (report: SourceReport) => void) {
    this.#clock = clock;
    this.#current = current;
    this.#report = report;
    this.#regular = clock.after(MOST_MS, () => this.#send());
  }

  /** May be called at any rate. */
  changed(): void {
    if (this.#soon !== undefined || this.#regular === undefined) return;
    const waitMs = this.#lastAtMs + LEAST_MS - this.#clock.monotonicMs();
    this.#soon = this.#clock.after(Math.max(0, waitMs), () => {
      this.#soon = undefined;
      if (!isDeepStrictEqual(this.#last, this.#current())) this.#send();
    });
  }

  stop(): void {
    this.#soon?.cancel();
    this.#regular?.cancel();
    this.#soon = undefined;
    this.#regular = undefined;
  }

  #send(): void {
    this.#last = this.#current();
    this.#lastAtMs = this.#clock.monotonicMs();
    this.#regular?.cancel();
    this.#regular = this.#clock.after(MOST_MS, () => this.#send());
    this.#report(this.#last);
  }
}
