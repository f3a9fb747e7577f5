// This host's part in one application: the shell around the pure machines of shared/failover (primary-lease, standby-granter).
//
// Hazard: an effect that is carried out beside another one, or on a decision that the disk does not know. So one event is worked on at a
// time, its effects in order, each finished before the next; after one that failed the machines start anew from the disk, as after a
// restart of the agent. What a failure leaves open, the kernel's timeout closes.
//
// Invariants (application-host.test.ts; with real kernels: test/failover):
//   AH1 no event is decided while an effect of an earlier one is under way;
//   AH2 a request goes out only after its timeout stands in the kernel;
//   AH3 units start only while this host may serve, and by themselves only in an epoch whose units a run has started;
//   AH4 a host that can't be enforced by its kernel never takes part in a handshake that arms the leases;
//   AH5 `stopped` is said only after the gate is closed and the units are dead.
//
// The modes without leases: the same record and orders; nothing is renewed, nothing expires, and boot-question.ts decides after a boot.

import type { HostRecord } from '@holdfast/shared/failover/commands';
import { reportOf } from '@holdfast/shared/failover/commands';
import { CONTROLLER, type FailoverMessage, type HostId } from '@holdfast/shared/failover/messages';
import {
  startHolder,
  stepHolder,
  type HolderEffect,
  type HolderEvent,
  type HolderState,
} from '@holdfast/shared/failover/primary-lease';
import {
  startStandby,
  stepStandby,
  type StandbyEffect,
  type StandbyEvent,
  type StandbyState,
} from '@holdfast/shared/failover/standby-granter';
import type { FailoverTiming } from '@holdfast/shared/failover/timing';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import { timingOf, type ApplicationPorts } from './application-ports.ts';
import { BootQuestioner } from './boot-question.ts';
import { firstRecord } from './first-record.ts';
import type { KernelGate } from './kernel-gate.ts';
import { bearable, withTrouble } from './kernel-trouble.ts';
import type { ProtectedUnits } from './protected-units.ts';
import { withRecord, type StoredRecord } from './record-file.ts';

/** Events that wait at most; more are dropped like any message that is lost. */
const QUEUE_MAX = 256;
const AGAIN_AFTER_MS = 1000;
/** A firewall that is loaded anew may flush every table. */
const CLOSE_AGAIN_MS = 10_000;

type Effect = HolderEffect | StandbyEffect;

export class ApplicationHost {
  readonly #ports: ApplicationPorts;
  #spec: ApplicationSpec;
  #gate: KernelGate;
  #units: ProtectedUnits;
  #stored: StoredRecord;
  #holder: HolderState;
  #standby: StandbyState;
  #trouble: string | undefined;
  #boot: BootQuestioner | undefined;
  #broken = false;
  #againMs = 0;
  #statusMs = 0;
  #closeAgainMs = 0;
  #reply: FailoverMessage[] | undefined;
  #queue: Promise<void> = Promise.resolve();
  #waiting = 0;
  #ticked = false;
  #ended = false;

  /** `open` makes one. */
  private constructor(ports: ApplicationPorts, spec: ApplicationSpec, stored: StoredRecord) {
    this.#ports = ports;
    this.#spec = spec;
    this.#stored = stored;
    this.#gate = ports.gate(spec);
    this.#units = ports.units(spec);
    this.#holder = startHolder(
      stored.record,
      this.#peer,
      { sameBoot: false, unitsRun: false, firstSlot: 0 },
      0,
      this.#timing,
    );
    this.#standby = startStandby(stored.record, this.#peer, 0);
  }

  /** Takes up what runs already. Throws DAMAGED; FAILED_PRECONDITION when this host lost what it knew in this boot. */
  static async open(ports: ApplicationPorts, spec: ApplicationSpec): Promise<ApplicationHost> {
    const known = ports.files.load();
    const stored = known ?? (await firstRecord(ports, spec));
    if (known === undefined) ports.files.save(stored);
    const application = new ApplicationHost(ports, spec, stored);
    await application.#enqueue(() => application.#start(undefined, known === undefined));
    return application;
  }

  get spec(): ApplicationSpec {
    return this.#spec;
  }

  get record(): HostRecord {
    return this.#stored.record;
  }

  /** For people and tests. */
  get phases(): {
    readonly holder: HolderState['phase'];
    readonly standby: StandbyState['phase'];
    readonly standing: boolean;
  } {
    const standing = Object.keys(this.#holder.standing).length > 0;
    return { holder: this.#holder.phase, standby: this.#standby.phase, standing };
  }

  /** The plan, its mode, or who is where has changed. */
  configure(spec: ApplicationSpec): Promise<void> {
    return this.#enqueue(() => this.#configure(spec));
  }

  tick(): void {
    if (this.#ticked) return;
    this.#ticked = true;
    void this.#enqueue(async () => {
      this.#ticked = false;
      await this.#tick();
    });
  }

  /** Resolves, after everything was carried out, with what is to be answered to a peer. */
  async take(from: 'controller' | 'peer', message: FailoverMessage): Promise<readonly FailoverMessage[]> {
    const reply: FailoverMessage[] = [];
    await this.#enqueue(async () => {
      this.#reply = from === 'peer' ? reply : undefined;
      try {
        await this.#deliver(from, message);
      } finally {
        this.#reply = undefined;
      }
    });
    return reply;
  }

  /** As Serving.refuses. */
  async refuses({ term, epoch }: { readonly term: number; readonly epoch: number }): Promise<string | undefined> {
    let refusal: string | undefined;
    await this.#enqueue(async () => {
      const { record } = this.#stored;
      if (term < record.term) refusal = `term ${term} is over: this host takes orders of term ${record.term}`;
      else if (epoch < record.highestEpoch)
        refusal = `epoch ${epoch} is over: this host knows of epoch ${record.highestEpoch}`;
      else if (term > record.term) this.#persist({ ...record, term });
    }, true);
    return refusal;
  }

  /** As Serving.stopServing. */
  stopServing(epoch: number): Promise<void> {
    return this.#enqueue(() => this.#stepHolder({ kind: 'stop', epoch }), true);
  }

  /** As Serving.activated. */
  activated(epoch: number): Promise<void> {
    return this.#enqueue(async () => {
      if (this.#stored.record.servingEpoch === epoch) this.#save({ ...this.#stored, activatedEpoch: epoch });
    }, true);
  }

  /** A person's word, on this host: it serves from now on, above everything that it knows of. */
  force(at: string): Promise<void> {
    return this.#enqueue(async () => {
      const { record } = this.#stored;
      const fenced = record.servingEpoch === 0 || record.highestEpoch > record.servingEpoch;
      const epoch = fenced ? record.highestEpoch + 1 : record.servingEpoch;
      const standing = { ...record.standing, person: epoch };
      const next: HostRecord = { ...record, highestEpoch: epoch, servingEpoch: epoch, standing };
      const forced = [...this.#stored.forced, at].slice(-FORCED_KEPT);
      this.#save({ record: next, activatedEpoch: epoch, servedBoot: this.#ports.bootId, forced });
      this.#ports.log('failover.forced', { plan: this.#spec.plan, epoch, at });
      this.#boot = undefined;
      const start = { sameBoot: true, unitsRun: true, firstSlot: this.#firstSlot() };
      this.#holder = startHolder(next, this.#peer, start, this.#now(), this.#timing);
      this.#standby = startStandby(next, this.#peer, this.#now());
      await this.#carryOut([
        { kind: 'open-gate', slot: 'standing' },
        { kind: 'start-units', untilMs: Infinity },
      ]);
    }, true);
  }

  /** The agent is about to stop: as a standby it disarms, and answers one more renewal with that. What serves goes on serving. */
  async prepareStop(): Promise<void> {
    if (this.#automatic) await this.#enqueue(() => this.#stepStandby({ kind: 'clean-stop' }));
  }

  async stop(): Promise<void> {
    this.#ended = true;
    this.#units.abandon();
    await this.#queue;
  }

  /** The plan was removed: nothing is protected any more. */
  async forget(): Promise<void> {
    this.#ended = true;
    this.#units.abandon();
    await this.#queue;
    await this.#gate.remove().catch((error: unknown) => this.#note('gate', error));
    if (this.#holder.phase === 'serving') {
      await this.#ports.addresses.hold(this.#spec, Infinity).catch((error: unknown) => this.#note('address', error));
    }
    this.#ports.files.forget();
  }

  get #peer(): HostId {
    return this.#spec.primaryHost === this.#ports.host ? this.#spec.standbyHost : this.#spec.primaryHost;
  }

  get #automatic(): boolean {
    return this.#spec.mode === 'automatic';
  }

  /** A plan without ports has nothing to shut. */
  get #gates(): boolean {
    return this.#trouble === undefined && this.#spec.ports.length > 0;
  }

  get #timing(): FailoverTiming {
    return timingOf(this.#spec);
  }

  readonly #now = (): number => this.#ports.nowMs();

  /** Above every slot of earlier runs in this boot: a slot a millisecond is more than anybody asks for. */
  #firstSlot(): number {
    return Math.max(this.#holder.slot, Math.floor(this.#now()));
  }

  /** AH1. `must`: it throws what went wrong to who asked, and is never dropped. */
  #enqueue(work: () => Promise<void>, must = false): Promise<void> {
    if (this.#ended && !must) return Promise.resolve();
    if (this.#waiting >= QUEUE_MAX && !must) return Promise.resolve();
    this.#waiting += 1;
    const done = this.#queue.then(work).finally(() => (this.#waiting -= 1));
    this.#queue = done.catch((error: unknown) => {
      this.#note('effect', error);
      this.#broken = true;
      this.#againMs = this.#now() + AGAIN_AFTER_MS;
    });
    return must ? done : this.#queue;
  }

  async #start(leaseUntilMs: number | undefined, isFirst = false): Promise<void> {
    const { record, servedBoot } = this.#stored;
    const nowMs = this.#now();
    this.#broken = false;
    this.#boot = undefined;
    this.#trouble = this.#automatic ? await this.#ports.kernelTrouble(this.#spec) : undefined;
    const running = await this.#units.anyRuns();
    const sameBoot = servedBoot === this.#ports.bootId;
    const unitsRun = running || !this.#automatic;
    const start = { sameBoot, unitsRun, firstSlot: this.#firstSlot() };
    const started = startHolder(record, this.#peer, start, nowMs, this.#timing);
    // An agent that starts over and over must not prolong what it had.
    this.#holder = { ...started, leaseUntilMs: Math.min(started.leaseUntilMs, leaseUntilMs ?? Infinity) };
    this.#standby = startStandby(record, this.#peer, nowMs);
    const { phase } = this.#holder;
    if (phase === 'serving') {
      if (!this.#automatic) return;
      const standing = Object.keys(this.#holder.standing).length > 0;
      if (standing) await this.#carryOut([{ kind: 'open-gate', slot: 'standing' }]);
      else if (isFirst) await this.#limitGate();
      return;
    }
    const hasServed = record.servingEpoch > 0;
    if (!this.#automatic && phase === 'waiting') {
      this.#boot = new BootQuestioner(nowMs);
      await this.#closeGate();
    } else if (hasServed || this.#automatic) await this.#carryOut([{ kind: 'close-gate' }]);
    if (running && hasServed && phase !== 'waiting') await this.#carryOut([{ kind: 'kill-units' }]);
    if (running && this.#automatic && phase === 'waiting') await this.#carryOut([{ kind: 'kill-units' }]);
  }

  /** From now on the kernel ends the service by itself, a lease from now. */
  async #limitGate(): Promise<void> {
    if (!this.#gates) return;
    const slot = this.#firstSlot() + 1;
    const { leaseMs } = this.#spec;
    this.#holder = { ...this.#holder, slot, openSlot: slot, leaseUntilMs: this.#now() + leaseMs, nextRenewMs: 0 };
    await this.#gate.stage(slot, leaseMs);
    await this.#gate.open(slot);
  }

  async #configure(spec: ApplicationSpec): Promise<void> {
    const before = this.#spec;
    const wasAutomatic = this.#automatic;
    this.#ports.files.saveSpec(spec);
    this.#spec = spec;
    const gatedBefore = JSON.stringify([before.ports, before.addresses]);
    if (gatedBefore !== JSON.stringify([spec.ports, spec.addresses])) this.#gate = this.#ports.gate(spec);
    const sameUnits =
      before.units.join('\0') === spec.units.join('\0') && before.services.toString() === spec.services.toString();
    if (!sameUnits) {
      this.#units.abandon();
      this.#units = this.#ports.units(spec);
    }
    if (this.#broken) return;
    if (this.#automatic && !wasAutomatic) {
      this.#trouble = await this.#ports.kernelTrouble(spec);
      this.#boot = undefined;
      if (this.#holder.phase !== 'serving') return this.#start(undefined);
      // Before the first request: the controller arms only after a handshake with a limited gate.
      if (Object.keys(this.#holder.standing).length === 0) await this.#limitGate();
      return;
    }
    if (!this.#automatic && wasAutomatic) {
      this.#trouble = undefined;
      if (this.#holder.phase === 'serving') await this.#carryOut([{ kind: 'open-gate', slot: 'standing' }]);
      if (this.#holder.phase === 'waiting') this.#boot = new BootQuestioner(this.#now());
    }
  }

  async #tick(): Promise<void> {
    if (this.#ended) return;
    const nowMs = this.#now();
    if (this.#broken) {
      if (nowMs >= this.#againMs) await this.#start(this.#holder.leaseUntilMs);
      return;
    }
    if (this.#automatic) await this.#stepHolder({ kind: 'tick' });
    else if (this.#boot !== undefined) await this.#askToServe(this.#boot, nowMs);
    else if (this.#holder.phase === 'serving' && nowMs >= this.#statusMs) {
      this.#statusMs = nowMs + this.#spec.renewMs;
      const report = reportOf(this.#stored.record);
      this.#send(CONTROLLER, { kind: 'status', report, seesPrimary: true, withdrawn: false });
    }
    await this.#stepStandby({ kind: 'tick' });
    if (this.#automatic && this.#holder.phase !== 'serving' && nowMs >= this.#closeAgainMs) {
      this.#closeAgainMs = nowMs + CLOSE_AGAIN_MS;
      await this.#closeGate();
    }
  }

  async #askToServe(boot: BootQuestioner, nowMs: number): Promise<void> {
    const { record } = this.#stored;
    const decision = await boot.decide(record, nowMs, this.#timing, {
      ask: () => {
        const question = { kind: 'boot', host: record.host } as const;
        this.#ports.toController(question);
        this.#ports.toPeer(question);
      },
      taken: () => this.#ports.addresses.taken(this.#spec),
    });
    if (decision === 'ask') return;
    this.#boot = undefined;
    this.#ports.log('failover.boot-decided', { plan: this.#spec.plan, decision });
    if (decision === 'start') {
      this.#holder = { ...this.#holder, phase: 'serving' };
      return this.#carryOut([
        { kind: 'open-gate', slot: 'standing' },
        { kind: 'start-units', untilMs: Infinity },
      ]);
    }
    this.#holder = { ...this.#holder, phase: 'fenced' };
    await this.#carryOut([{ kind: 'close-gate' }, { kind: 'kill-units' }]);
  }

  async #deliver(from: 'controller' | 'peer', message: FailoverMessage): Promise<void> {
    if (this.#broken) return;
    switch (message.kind) {
      case 'grant': {
        if (!this.#automatic || message.granter !== (from === 'peer' ? this.#peer : CONTROLLER)) return;
        const standing = Object.keys(this.#holder.standing).length > 0;
        const grant = this.#trouble === undefined ? message : bearable(message, standing);
        return grant === undefined ? undefined : this.#stepHolder({ kind: 'grant', grant });
      }
      case 'stop':
        return this.#stepHolder({ kind: 'stop', epoch: message.epoch });
      case 'boot':
        return this.#send(this.#peer, { kind: 'boot-answer', highestEpoch: this.#stored.record.highestEpoch });
      case 'boot-answer':
        return this.#boot?.answered(message.highestEpoch);
      case 'renew':
      case 'stopped':
        if (from === 'peer' && message.host === this.#peer) await this.#stepStandby(message);
        return;
      case 'beat':
      case 'inquire':
      case 'withdraw':
      case 'resume':
      case 'promote':
        if (from === 'controller') await this.#stepStandby(message);
        return;
      default:
    }
  }

  async #stepHolder(event: HolderEvent): Promise<void> {
    const step = stepHolder(this.#holder, this.#stored.record, event, this.#now(), this.#timing);
    this.#holder = step.state;
    await this.#carryOut(step.effects);
  }

  async #stepStandby(event: StandbyEvent): Promise<void> {
    const step = stepStandby(this.#standby, this.#stored.record, event, this.#now(), this.#timing);
    this.#standby = step.state;
    await this.#carryOut(step.effects);
  }

  async #carryOut(effects: readonly Effect[]): Promise<void> {
    for (const [index, effect] of effects.entries()) {
      try {
        await this.#one(effect);
      } catch (error) {
        // A request that was not staged is one that was never sent.
        if (effect.kind === 'stage-gate') return this.#note('stage', error);
        // The gate that can't be closed has a timeout; the units have none.
        if (effect.kind === 'close-gate' && effects[index + 1]?.kind === 'kill-units') await this.#units.stopAll();
        throw error;
      }
    }
  }

  async #one(effect: Effect): Promise<void> {
    switch (effect.kind) {
      case 'persist':
        return this.#persist(effect.record);
      case 'stage-gate':
        return this.#gates ? this.#gate.stage(effect.slot, effect.forMs) : undefined;
      case 'open-gate':
        return this.#openGate(effect.slot);
      case 'close-gate':
        return this.#closeGate();
      case 'start-units':
        return this.#startUnits();
      case 'kill-units':
        return this.#units.stopAll();
      case 'serve': {
        const { epoch, standing } = effect;
        this.#boot = undefined;
        return this.#stepHolder({ kind: 'promoted', epoch, standing });
      }
      default:
        return this.#send(effect.to, effect.message);
    }
  }

  async #openGate(slot: number | 'standing'): Promise<void> {
    const { bootId, addresses } = this.#ports;
    if (this.#stored.servedBoot !== bootId) this.#save({ ...this.#stored, servedBoot: bootId });
    // Without leases a gate that was never closed needs no opening.
    const bare = slot === 'standing' && !this.#automatic && !(await this.#gate.exists().catch(() => false));
    if (this.#gates && !bare) await this.#gate.open(slot);
    const leftMs = slot === 'standing' ? Infinity : this.#holder.leaseUntilMs - this.#now();
    // Not what keeps writes away: a device that is misnamed must not stop the service.
    await addresses.hold(this.#spec, leftMs).catch((error: unknown) => this.#note('address', error));
  }

  async #closeGate(): Promise<void> {
    const { addresses } = this.#ports;
    await addresses.drop(this.#spec).catch((error: unknown) => this.#note('address', error));
    if (this.#gates) await this.#gate.close();
  }

  /** AH3. Not waited for: renewals go on meanwhile, and every unit asks again whether this host still serves. */
  #startUnits(): void {
    const { activatedEpoch, record } = this.#stored;
    if (activatedEpoch !== record.servingEpoch) return;
    this.#units.startAll(() => this.#serves(record.servingEpoch));
  }

  #serves(epoch: number): boolean {
    const { phase, standing, leaseUntilMs } = this.#holder;
    if (phase !== 'serving' || this.#stored.record.servingEpoch !== epoch || this.#ended) return false;
    return !this.#automatic || Object.keys(standing).length > 0 || this.#now() < leaseUntilMs;
  }

  #send(to: string, message: FailoverMessage): void {
    const told = withTrouble(message, this.#trouble);
    if (to === CONTROLLER) this.#ports.toController(told);
    else if (this.#reply === undefined) this.#ports.toPeer(told);
    else this.#reply.push(told);
  }

  #persist(record: HostRecord): void {
    this.#save(withRecord(this.#stored, record));
  }

  #save(stored: StoredRecord): void {
    this.#ports.files.save(stored);
    this.#stored = stored;
  }

  #note(what: string, error: unknown): void {
    this.#ports.log('failover.failed', { plan: this.#spec.plan, what, error: toHoldfastError(error).message });
  }
}

const FORCED_KEPT = 20;
