// After a boot, in the modes without leases: asking the controller and the other host whether this one may serve (shared/failover/boot-gate.ts
// decides).
//
// Tested in application-host.test.ts.

import { decideBoot } from '@holdfast/shared/failover/boot-gate';
import type { HostRecord } from '@holdfast/shared/failover/commands';
import type { FailoverTiming } from '@holdfast/shared/failover/timing';

export interface BootPorts {
  ask(): void;
  /** Somebody answers for the service address. */
  taken(): Promise<boolean>;
}

const ANSWERS_MAX = 8;

export class BootQuestioner {
  readonly #startedMs: number;
  #answers: number[] = [];
  #askAgainMs = -Infinity;
  #addressTaken: boolean | undefined;

  constructor(nowMs: number) {
    this.#startedMs = nowMs;
  }

  answered(highestEpoch: number): void {
    this.#answers = [...this.#answers, highestEpoch].slice(-ANSWERS_MAX);
  }

  /** `ask`: not decided yet. */
  async decide(
    record: HostRecord,
    nowMs: number,
    timing: FailoverTiming,
    ports: BootPorts,
  ): Promise<'start' | 'stay-down' | 'ask'> {
    const { servingEpoch, highestEpoch } = record;
    const decision = decideBoot(
      {
        servingEpoch,
        highestEpoch,
        answers: this.#answers,
        askedForMs: nowMs - this.#startedMs,
        addressTaken: this.#addressTaken,
      },
      timing,
    );
    if (decision === 'probe-address') {
      this.#addressTaken = await ports.taken();
      return 'ask';
    }
    if (decision === 'ask' && nowMs >= this.#askAgainMs) {
      this.#askAgainMs = nowMs + timing.renewMs;
      ports.ask();
    }
    return decision;
  }
}
