// A simulated controller replica: the shell around controller-replica.ts, with pauses, crashes and a catalog at a distance.

import { stepController } from '../controller-replica.ts';
import {
  type ControllerEffect,
  type ControllerEvent,
  type ControllerSettings,
  type ControllerState,
  startController,
} from '../controller-state.ts';
import type { Probe, Renew, ToHost } from '../messages.ts';
import type { SimulatedCatalog } from './catalog.ts';
import { HOSTS } from './fault-list.ts';
import { MachineClock, type World } from './world.ts';

export const TICK_MS = 250;

export interface ControllerPorts {
  readonly send: (from: string, to: string, message: ToHost | Probe) => void;
  readonly runFenceScript: (host: string) => boolean;
}

export class SimulatedController {
  readonly name: string;
  readonly clock: MachineClock;
  readonly #world: World;
  readonly #catalog: SimulatedCatalog;
  readonly #ports: ControllerPorts;
  readonly #settings: ControllerSettings;
  #state: ControllerState;
  up = true;
  paused = false;
  #generation = 0;
  #waiting: (() => void)[] = [];
  #planReady = true;

  constructor(
    world: World,
    catalog: SimulatedCatalog,
    settings: ControllerSettings,
    ports: ControllerPorts,
    rate: number,
  ) {
    this.#world = world;
    this.#catalog = catalog;
    this.name = settings.replica;
    this.clock = new MachineClock(rate);
    this.#ports = ports;
    this.#settings = settings;
    this.#state = startController(0, 1);
    this.#start();
  }

  #start(): void {
    this.#generation += 1;
    this.#state = { ...startController(this.#read(), this.#generation * 1_000_000), planReady: this.#planReady };
    const generation = this.#generation;
    const tick = (): void => {
      if (generation !== this.#generation) return;
      this.take({ kind: 'tick' });
      this.#world.after(TICK_MS, tick);
    };
    this.#world.after(this.#world.random.between(0, TICK_MS), tick);
  }

  crash(): void {
    this.up = false;
    this.#generation += 1;
    this.#waiting = [];
    this.paused = false;
  }

  boot(): void {
    if (this.up) return;
    this.up = true;
    this.#start();
  }

  resume(): void {
    this.paused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const event of waiting) event();
  }

  setPlan(ready: boolean): void {
    this.#planReady = ready;
    this.take({ kind: 'plan', ready: ready || this.#world.off('disarms-when-plan-is-not-ready') });
  }

  take(event: ControllerEvent): void {
    if (!this.up) return;
    if (this.paused) {
      if (event.kind !== 'tick') this.#waiting.push(() => this.#step(event));
      return;
    }
    this.#step(event);
  }

  /** The clock that decisions use; a wall clock when the rule of monotonic clocks is removed. */
  #read(): number {
    const jumpedMs = this.#world.off('monotonic-clocks') ? this.clock.wallOffsetMs : 0;
    return this.clock.read(this.#world.nowMs) + jumpedMs;
  }

  #step(taken: ControllerEvent): void {
    if (!this.up) return;
    const event = this.#bentEvent(taken);
    if (event.kind === 'clean-stop' && this.#world.off('disarms-at-clean-stop')) return this.crash();
    if (event.kind === 'renew' && this.#grantWithoutCommit(event)) return;
    const step = stepController(this.#bent(event), event, this.#read(), this.#bentSettings());
    this.#state = step.state;
    for (const effect of step.effects) this.#carryOut(effect);
    if (this.#state.cleanlyDisarmed && this.#state.stopping) this.crash();
  }

  #bentEvent(event: ControllerEvent): ControllerEvent {
    const world = this.#world;
    const known = this.#state.row;
    if (event.kind === 'renew' && world.off('ended-only-by-handshake'))
      return { ...event, ended: known?.disarmed ?? 0 };
    if (event.kind === 'renew' && world.off('all-three-see')) return { ...event, sees: [...HOSTS] };
    if (event.kind === 'status' && world.off('all-three-see')) return { ...event, seesPrimary: true };
    const looks = event.kind === 'row' || event.kind === 'written';
    if (looks && event.row.phase !== 'open' && known !== undefined && world.off('withdrawal-names-last-grant')) {
      return { ...event, row: { ...event.row, grantSeq: known.grantSeq } };
    }
    return event;
  }

  /** The state as it would be without the rule that this run goes without. */
  #bent(event: ControllerEvent): ControllerState {
    const world = this.#world;
    let state = this.#state;
    if (event.kind === 'tick' && state.row !== undefined) {
      if (world.off('heartbeats-stopped')) state = { ...state, primaryHeardMs: -Infinity };
      if (world.off('controller-reaches-standby')) state = { ...state, standbyHeardMs: this.#read() };
      if (world.off('controller-waits')) state = { ...state, grantSeenMs: -Infinity };
      if (world.off('disarms-out-of-reach')) state = { ...state, startedMs: this.#read() };
      if (world.off('holdoff')) state = { ...state, epochSeenMs: -Infinity };
      if (world.off('confirmed-or-ask')) state = { ...state, fencedAttempt: state.scriptedAttempt };
    }
    return state;
  }

  #bentSettings(): ControllerSettings {
    const settings = this.#settings;
    const world = this.#world;
    if (world.off('witnesses-agree')) return { ...settings, agree: 1 };
    if (world.off('margin')) return { ...settings, timing: { ...settings.timing, marginMs: 0 } };
    if (world.off('script-for-frozen-machines')) return { ...settings, powerOff: false };
    if (world.off('witness-outside'))
      return { ...settings, sites: new Map([...settings.sites].map(([host]) => [host, host])) };
    return settings;
  }

  #grantWithoutCommit(renew: Renew): boolean {
    const { row } = this.#state;
    if (this.#world.off('controller-grants')) return true;
    if (!this.#world.off('commit-before-grant') || row?.phase !== 'open' || row.disarmed !== 0) return false;
    const { host, epoch, slot } = renew;
    this.#state = { ...this.#state, primaryHeardMs: this.#read() };
    if (epoch === row.epoch && host === row.primary) {
      this.#ports.send(this.name, host, { kind: 'grant', granter: 'controller', host, epoch, slot });
    }
    return true;
  }

  #carryOut(effect: ControllerEffect): void {
    const world = this.#world;
    const generation = this.#generation;
    switch (effect.kind) {
      case 'send':
        if (effect.message.kind === 'grant' && effect.message.ends !== undefined && world.off('arms-again')) {
          const { ends, ...grant } = effect.message;
          return this.#ports.send(this.name, effect.to, { ...grant, standing: ends });
        }
        return this.#ports.send(this.name, effect.to, effect.message);
      case 'run-fence-script':
        world.after(500, () => {
          const confirmed = this.#ports.runFenceScript(effect.host);
          this.take({ kind: 'fence-result', attempt: effect.attempt, confirmed });
        });
        return;
      case 'read-row': {
        this.#roundTrip(generation, () => {
          const { row, identity } = this.#catalog.read();
          return () => this.#seeRow({ kind: 'row', row, identity });
        });
        return;
      }
      case 'write-row':
        this.#roundTrip(generation, () => {
          const answer = this.#catalog.write(effect.identity, effect.operation);
          return () => this.take({ kind: 'written', id: effect.id, ...answer });
        });
    }
  }

  #seeRow(event: Extract<ControllerEvent, { kind: 'row' }>): void {
    const isFirst = this.#state.row === undefined;
    this.take(event);
    if (isFirst && this.#world.off('replica-restart-counts-as-grant'))
      this.#state = { ...this.#state, grantSeenMs: -Infinity };
  }

  #roundTrip(generation: number, atCatalog: () => () => void): void {
    this.#world.send(this.name, 'catalog', () => {
      const answer = atCatalog();
      this.#world.send('catalog', this.name, () => {
        if (generation === this.#generation) answer();
      });
    });
  }
}
