// A simulated host: its disk, its kernel's gate, its units, and the agent's shell around primary-lease.ts and standby-granter.ts.
//
// The gate runs on the host's clock whether or not a process runs; freezing the machine stops that clock too. A paused process
// leaves messages in its socket, and effects half done.

import type { HostRecord } from '../commands.ts';
import { type Grant, type GranterId, type HostId, type Renew, type ToController, type ToHost } from '../messages.ts';
import { type HolderEffect, type HolderState, startHolder, stepHolder } from '../primary-lease.ts';
import {
  startStandby,
  type StandbyEffect,
  type StandbyEvent,
  type StandbyState,
  stepStandby,
} from '../standby-granter.ts';
import { FAILOVER_TIMING, type FailoverTiming } from '../timing.ts';
import { TICK_MS } from './simulated-controller.ts';
import { MachineClock, type World } from './world.ts';

export interface HostPorts {
  readonly send: (from: HostId, to: GranterId, message: ToHost | ToController) => void;
  readonly served: (host: HostId, epoch: number) => void;
  readonly sayAlive: (host: HostId) => void;
}

type Effect = HolderEffect | StandbyEffect;

interface Gate {
  readonly until: Map<number, number>;
  open: number | 'standing' | undefined;
}

export interface HostOptions {
  readonly rate: number;
  readonly kernelLateMs: number;
  /** Chance that the agent is paused between two effects. */
  readonly midPause: number;
}

export class SimulatedHost {
  readonly name: HostId;
  readonly peer: HostId;
  readonly clock: MachineClock;
  readonly #world: World;
  readonly #ports: HostPorts;
  readonly #options: HostOptions;
  disk: HostRecord;
  readonly #firstEpoch: number;
  #gate: Gate = { until: new Map(), open: undefined };
  up = true;
  agentUp = false;
  unitsRun: boolean;
  appPaused = false;
  agentPaused = false;
  #appSick = false;
  #holder: HolderState;
  #standby: StandbyState;
  #effects: { readonly effect: Effect; readonly atMs: number }[] = [];
  #waiting: (() => void)[] = [];
  #generation = 0;
  #slotBase = 0;
  agentSinceMs = 0;

  constructor(world: World, disk: HostRecord, peer: HostId, options: HostOptions, ports: HostPorts) {
    this.#world = world;
    this.name = disk.host;
    this.peer = peer;
    this.clock = new MachineClock(options.rate);
    this.#options = options;
    this.#ports = ports;
    this.disk = disk;
    this.#firstEpoch = disk.servingEpoch;
    this.unitsRun = disk.servingEpoch > 0;
    if (this.unitsRun) this.#gate = { until: new Map([[0, FAILOVER_TIMING.leaseMs]]), open: 0 };
    this.#holder = startHolder(
      disk,
      peer,
      { sameBoot: true, unitsRun: this.unitsRun, firstSlot: 0 },
      0,
      this.#timing(),
    );
    this.#standby = startStandby(disk, peer, 0);
    this.startAgent(true);
  }

  get holderPhase(): HolderState['phase'] {
    return this.#holder.phase;
  }

  get standbyPhase(): StandbyState['phase'] {
    return this.#standby.phase;
  }

  /** Whether a client's write would be taken now. */
  canWrite(): boolean {
    if (!this.up || this.clock.frozen || !this.unitsRun || this.appPaused) return false;
    const { open, until } = this.#gate;
    if (open === undefined) return false;
    if (open === 'standing' || this.#world.off('kernel-enforces')) return true;
    return this.clock.read(this.#world.nowMs) < (until.get(open) ?? 0) + this.#options.kernelLateMs * this.clock.rate;
  }

  /** Whether the application answers a witness. */
  answersRequest(): boolean {
    if (this.#world.off('request-must-be-answered') && this.up && !this.clock.frozen) return true;
    return this.canWrite() && !this.#appSick;
  }

  startAgent(sameBoot: boolean): void {
    if (!this.up || this.agentUp) return;
    this.agentUp = true;
    this.agentPaused = false;
    this.agentSinceMs = this.#world.nowMs;
    this.#generation += 1;
    this.#slotBase += 1_000_000;
    const bootsByDisk = this.#world.off('boot-needs-fresh-grant') && this.disk.servingEpoch > 0 && !sameBoot;
    if (bootsByDisk) {
      this.unitsRun = true;
      this.#gate.open = 'standing';
    }
    const start = { sameBoot: sameBoot || bootsByDisk, unitsRun: this.unitsRun, firstSlot: this.#slotBase };
    const nowMs = this.#read();
    if (this.#world.off('disarm-is-durable')) this.disk = { ...this.disk, disarmed: false };
    if (this.#world.off('keeps-highest-on-disk'))
      this.disk = { ...this.disk, highestEpoch: 1, servingEpoch: this.#firstEpoch };
    this.#holder = startHolder(this.disk, this.peer, start, nowMs, this.#timing());
    this.#standby = startStandby(this.disk, this.peer, nowMs);
    if (this.#world.off('standby-restart-counts-as-grant'))
      this.#standby = { ...this.#standby, lastGrantMs: -Infinity };
    if (this.#holder.phase !== 'serving' && sameBoot && this.unitsRun)
      this.#enqueue([{ kind: 'close-gate' }, { kind: 'kill-units' }]);
    // Only the agent restarted under a standing grant: the disk says so, the gate may not yet.
    if (Object.keys(this.#holder.standing).length > 0) this.#enqueue([{ kind: 'open-gate', slot: 'standing' }]);
    const generation = this.#generation;
    const tick = (): void => {
      if (generation !== this.#generation) return;
      this.#world.after(TICK_MS, tick);
      this.#whenAwake(() => this.#tick(), false);
    };
    this.#world.after(this.#world.random.between(0, TICK_MS), tick);
  }

  killAgent(): void {
    this.agentUp = false;
    this.#generation += 1;
    this.#effects = [];
    this.#waiting = [];
  }

  crash(): void {
    this.killAgent();
    this.up = false;
    this.unitsRun = false;
    this.appPaused = false;
    this.#gate = { until: new Map(), open: undefined };
    this.clock.thaw(this.#world.nowMs);
  }

  boot(): void {
    if (this.up) return;
    this.up = true;
    this.startAgent(false);
  }

  setSick(sick: boolean): void {
    this.#appSick = sick;
  }

  pause(): void {
    this.agentPaused = true;
    this.appPaused = true;
  }

  resume(): void {
    this.appPaused = false;
    this.#resumeAgent();
  }

  freeze(): void {
    this.clock.freeze(this.#world.nowMs);
  }

  thaw(): void {
    this.clock.thaw(this.#world.nowMs);
    if (!this.agentPaused) this.#resumeAgent();
  }

  take(message: ToHost): void {
    // No network card is there to receive it.
    if (this.clock.frozen) return;
    this.#whenAwake(() => this.#deliver(message), true);
  }

  cleanStop(): void {
    if (this.#world.off('disarms-at-clean-stop')) return;
    this.#whenAwake(() => this.#stepStandby({ kind: 'clean-stop' }), true);
  }

  #whenAwake(run: () => void, keep: boolean): void {
    if (!this.up || !this.agentUp) return;
    if (!this.agentPaused && !this.clock.frozen) return run();
    const generation = this.#generation;
    if (keep) this.#waiting.push(() => generation === this.#generation && run());
  }

  #resumeAgent(): void {
    this.agentPaused = false;
    if (!this.up || !this.agentUp || this.clock.frozen) return;
    this.agentSinceMs = this.#world.nowMs;
    this.#drain();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) this.#whenAwake(run, true);
  }

  #read(): number {
    const jumpedMs = this.#world.off('monotonic-clocks') ? this.clock.wallOffsetMs : 0;
    return this.clock.read(this.#world.nowMs) + jumpedMs;
  }

  #timing(): FailoverTiming {
    return this.#world.off('margin') ? { ...FAILOVER_TIMING, marginMs: 0 } : FAILOVER_TIMING;
  }

  #tick(): void {
    this.#ports.sayAlive(this.name);
    this.#stepHolder({ kind: 'tick' });
    if (this.#world.off('standby-waits')) this.#standby = { ...this.#standby, lastGrantMs: -Infinity };
    if (this.#world.off('disarms-out-of-reach')) this.#standby = { ...this.#standby, startedMs: this.#read() };
    this.#stepStandby({ kind: 'tick' });
    const ranOut = this.#read() > this.#standby.lastGrantMs + FAILOVER_TIMING.leaseMs + FAILOVER_TIMING.marginMs;
    if (this.#world.off('needs-the-order') && this.#standby.phase === 'armed' && ranOut) {
      const epoch = this.disk.highestEpoch + 1;
      this.disk = { ...this.disk, highestEpoch: epoch, servingEpoch: epoch };
      this.#standby = { ...this.#standby, phase: 'serving' };
      this.#enqueue([{ kind: 'serve', epoch, standing: 1 }]);
    }
  }

  #deliver(message: ToHost): void {
    const world = this.#world;
    switch (message.kind) {
      case 'grant':
        return this.#stepHolder({ kind: 'grant', grant: this.#bentGrant(message) });
      case 'stop':
        return this.#stepHolder({ kind: 'stop', epoch: message.epoch });
      case 'renew':
        if (world.off('standby-grants')) return;
        return this.#stepStandby(this.#bentRenewal(message));
      case 'inquire': {
        const { order } = this.#standby;
        this.#stepStandby(message);
        if (world.off('old-catalog-is-refused') && order !== undefined) this.#standby = { ...this.#standby, order };
        return;
      }
      case 'promote':
        if (world.off('standby-waits')) this.#standby = { ...this.#standby, lastGrantMs: -Infinity };
        if (world.off('disarmed-refuses')) {
          this.#standby = {
            ...this.#standby,
            phase: this.#standby.phase === 'disarmed' ? 'armed' : this.#standby.phase,
          };
        }
        if (world.off('old-catalog-is-refused')) return this.#stepStandby({ ...message, catalog: this.disk.catalog });
        if (world.off('refuses-less')) {
          const term = Math.max(message.term, this.disk.term);
          const attempt = Math.max(message.attempt, this.disk.attempt + 1);
          const epoch = Math.max(message.epoch, this.disk.highestEpoch);
          return this.#stepStandby({ ...message, term, attempt, epoch });
        }
        return this.#stepStandby(message);
      default:
        return this.#stepStandby(message);
    }
  }

  #bentRenewal(renew: Renew): Renew {
    if (this.#world.off('ended-only-by-handshake')) return { ...renew, ended: this.disk.serial };
    if (this.#world.off('all-three-see')) return { ...renew, sees: ['controller', this.name] };
    return renew;
  }

  #bentGrant(grant: Grant): Grant {
    const world = this.#world;
    if (world.off('grant-names-host') && this.disk.servingEpoch > 0) {
      return { ...grant, host: this.name, epoch: this.disk.servingEpoch };
    }
    if (world.off('ended-grants-stay-ended')) this.disk = { ...this.disk, ended: {} };
    return grant;
  }

  #stepHolder(event: Parameters<typeof stepHolder>[2]): void {
    if (event.kind === 'grant' && this.#world.off('holder-counts-from-before')) {
      const requestedAt = new Map(this.#holder.requestedAt);
      if (requestedAt.has(event.grant.slot)) requestedAt.set(event.grant.slot, this.#read());
      this.#holder = { ...this.#holder, requestedAt };
    }
    const step = stepHolder(this.#holder, this.disk, event, this.#read(), this.#timing());
    this.#holder = step.state;
    this.#enqueue(step.effects);
  }

  #stepStandby(event: StandbyEvent): void {
    const step = stepStandby(this.#standby, this.disk, event, this.#read(), this.#timing());
    this.#standby = step.state;
    this.#enqueue(step.effects);
  }

  #enqueue(effects: readonly Effect[]): void {
    const atMs = this.#read();
    for (const effect of effects) this.#effects.push({ effect, atMs });
    this.#drain();
  }

  #drain(): void {
    while (this.#effects.length > 0 && this.agentUp && !this.agentPaused && !this.clock.frozen) {
      if (this.#world.random.chance(this.#options.midPause)) return this.#pauseAgent();
      const { effect, atMs } = this.#effects.shift()!;
      this.#carryOut(effect, atMs);
    }
  }

  #pauseAgent(): void {
    this.agentPaused = true;
    const generation = this.#generation;
    this.#world.after(this.#world.random.between(500, 20_000), () => {
      if (generation === this.#generation && !this.appPaused) this.#resumeAgent();
    });
  }

  #carryOut(effect: Effect, decidedMs: number): void {
    const world = this.#world;
    if (effect.kind !== 'send' && effect.kind !== 'stage-gate') {
      world.note(() => `${this.name} ${effect.kind}${'slot' in effect ? ` ${effect.slot}` : ''}`);
    }
    switch (effect.kind) {
      case 'persist':
        this.disk = effect.record;
        return;
      case 'stage-gate':
        this.#gate.until.set(effect.slot, this.clock.read(world.nowMs) + effect.forMs);
        this.#gate.until.delete(effect.slot - 16);
        return;
      case 'open-gate':
        return this.#openGate(effect.slot, decidedMs);
      case 'close-gate':
        this.#gate.open = undefined;
        return;
      case 'start-units':
        if (this.#read() >= effect.untilMs) return;
        this.unitsRun = true;
        this.#ports.served(this.name, this.disk.servingEpoch);
        return;
      case 'kill-units':
        if (!world.off('agent-kills-units')) this.unitsRun = false;
        return;
      case 'serve':
        return this.#serve(effect.epoch, effect.standing);
      case 'send':
        if (effect.message.kind === 'stop' && world.off('standby-tells-primary')) return;
        if (effect.message.kind === 'grant' && effect.message.ends !== undefined && world.off('arms-again')) {
          const { ends, ...grant } = effect.message;
          return this.#ports.send(this.name, effect.to, { ...grant, standing: ends });
        }
        return this.#ports.send(this.name, effect.to, effect.message);
    }
  }

  /** Before whatever else was to be done. */
  #serve(epoch: number, standing: number): void {
    const later = this.#effects;
    this.#effects = [];
    const event = { kind: 'promoted', epoch, standing } as const;
    const step = stepHolder(this.#holder, this.disk, event, this.#read(), this.#timing());
    this.#holder = step.state;
    const atMs = this.#read();
    this.#effects = [...step.effects.map((effect) => ({ effect, atMs })), ...later];
  }

  #openGate(slot: number | 'standing', decidedMs: number): void {
    const world = this.#world;
    if (world.off('renewal-extends-the-gate') && slot !== 'standing' && this.#gate.open !== undefined) return;
    this.#gate.open = slot;
    if (slot === 'standing') return;
    const nowMs = this.clock.read(world.nowMs);
    const leftMs = this.#holder.leaseUntilMs - decidedMs;
    if (world.off('gate-is-staged') || world.off('holder-counts-from-before'))
      this.#gate.until.set(slot, nowMs + leftMs);
  }
}
