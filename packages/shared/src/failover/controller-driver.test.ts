// CD1, over every way in which the ticks of two replicas can fall.

import { expect } from 'chai';
import { stepController } from './controller-replica.ts';
import { startController, type ControllerSettings, type ControllerState } from './controller-state.ts';
import { applyToRow, type LeaseRow } from './lease-row.ts';
import { FAILOVER_TIMING as timing } from './timing.ts';

const TICK_MS = 250;
const ANSWER_MS = 20;
const CATALOG = 'a';
const LONG_MS = 20_000;

/** Two replicas on one row, in steps of 10 ms. */
class Replicas {
  row: LeaseRow = {
    identity: CATALOG,
    phase: 'open',
    primary: 'web-1',
    standby: 'web-2',
    epoch: 1,
    nextEpoch: 2,
    grantSeq: 0,
    attempt: 0,
    serial: 0,
    disarmed: 1,
    orderSerial: 0,
    confirmed: false,
    automatic: false,
    driver: 'first',
    term: 1,
    beat: 0,
  };
  lastBeatMs = 0;
  readonly #states = new Map<string, ControllerState>();
  readonly #answers: { readonly atMs: number; readonly give: () => void }[] = [];

  /** What is due at this moment for those that live. @param shiftMs of the second one's ticks against the first one's */
  at(nowMs: number, living: readonly string[], shiftMs: number): void {
    for (const answer of this.#answers.filter(({ atMs }) => atMs === nowMs)) answer.give();
    for (const replica of living) {
      if ((nowMs + (replica === 'first' ? 0 : shiftMs)) % TICK_MS === 0) this.#tick(replica, nowMs);
    }
  }

  #tick(replica: string, nowMs: number): void {
    const state = this.#states.get(replica) ?? startController(nowMs, 1);
    const step = stepController(state, { kind: 'tick' }, nowMs, settingsOf(replica));
    this.#states.set(replica, step.state);
    for (const effect of step.effects) {
      if (effect.kind === 'read-row') {
        const { row } = this;
        this.#later(replica, nowMs, { kind: 'row', row, identity: CATALOG });
      }
      if (effect.kind !== 'write-row') continue;
      const after = applyToRow(this.row, effect.operation, effect.identity, CATALOG);
      if (after !== undefined && after.beat !== this.row.beat) this.lastBeatMs = nowMs;
      this.row = after ?? this.row;
      const { row } = this;
      this.#later(replica, nowMs, { kind: 'written', id: effect.id, ok: after !== undefined, row, identity: CATALOG });
    }
  }

  #later(replica: string, nowMs: number, event: Parameters<typeof stepController>[1]): void {
    const give = (): void => {
      const known = this.#states.get(replica)!;
      this.#states.set(replica, stepController(known, event, nowMs + ANSWER_MS, settingsOf(replica)).state);
    };
    this.#answers.push({ atMs: nowMs + ANSWER_MS, give });
  }
}

function settingsOf(replica: string): ControllerSettings {
  const nobody = { witnesses: [], agree: 1, sites: new Map() };
  return { replica, timing, ...nobody, holdoffMs: 0, powerOff: false, leases: true };
}

describe('who drives', () => {
  it('CD1: a driver that beats is never replaced; one that is gone is, within its lease', () => {
    for (let joinsMs = 0; joinsMs <= timing.renewMs + TICK_MS; joinsMs += 170) {
      for (let livesMs = 0; livesMs < timing.renewMs + TICK_MS; livesMs += 130) {
        const replicas = new Replicas();
        const diesMs = LONG_MS + livesMs;
        const both = `the second one joined at ${joinsMs}, the first one died at ${diesMs}`;
        let nowMs = 0;
        for (; nowMs < diesMs; nowMs += 10) {
          replicas.at(nowMs, nowMs < joinsMs ? ['first'] : ['first', 'second'], joinsMs);
        }
        expect(replicas.row, both).to.include({ driver: 'first', term: 1 });
        const { lastBeatMs } = replicas;
        expect(lastBeatMs).to.be.greaterThan(diesMs - timing.renewMs - 2 * TICK_MS);
        for (; replicas.row.term === 1 && nowMs < diesMs + LONG_MS; nowMs += 10)
          replicas.at(nowMs, ['second'], joinsMs);
        expect(nowMs - lastBeatMs, both).to.be.at.most(timing.controllerLeaseMs);
        expect(replicas.row).to.include({ driver: 'second', term: 2 });
      }
    }
  });
});
