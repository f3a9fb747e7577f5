// One run of the simulated world: hosts, witnesses, two replicas of the controller on one catalog, a schedule of faults, and the assertions.

import { newHostRecord } from '../commands.ts';
import { refuseAutomatic } from '../catalog-epoch.ts';
import type { LeaseRow } from '../lease-row.ts';
import type { Probe, ProbeAnswer, ToController, ToHost } from '../messages.ts';
import { DRIFT_BOUND, FAILOVER_TIMING, KERNEL_LATENESS_MS, promotionBoundMs } from '../timing.ts';
import { SimulatedCatalog } from './catalog.ts';
import { Random } from './random.ts';
import type { Assertion } from './assertions.ts';
import type { RuleId } from './rules.ts';
import { HOSTS, REPLICAS, type Schedule, type Scheduled, SITES, WITNESSES } from './fault-list.ts';
import { makeSchedule, type ScenarioName } from './schedule.ts';
import { SimulatedController } from './simulated-controller.ts';
import { SimulatedHost } from './simulated-host.ts';
import { World } from './world.ts';

export interface Failure {
  readonly assertion: Assertion;
  readonly atMs: number;
  readonly detail: string;
}

export interface RunResult {
  readonly failure: Failure | undefined;
  readonly promotions: number;
  readonly schedule: Schedule;
  readonly trace: readonly string[];
}

export interface RunOptions {
  readonly without?: RuleId;
  readonly trace?: boolean;
}

/** Beyond the bound: drift, the way of a few messages, and the grain of the agents' timers. */
const LATENESS_MS = 1000;
/** A unit that its agent has not killed by then is not going to be. */
const KILL_MS = 1500;
/** An agent that restarted or was paused knows no more than that its lease cannot last longer than this. */
const ADOPTED_MS = FAILOVER_TIMING.leaseMs * (1 + 2 * DRIFT_BOUND);

export function runSeed(scenario: ScenarioName, seed: number, options: RunOptions = {}): RunResult {
  const schedule = makeSchedule(scenario, new Random(seed ^ 0x5bd1e995));
  return new Run(seed, schedule, options).go();
}

class Run {
  readonly #world: World;
  readonly #schedule: Schedule;
  readonly #catalog: SimulatedCatalog;
  readonly #hosts = new Map<string, SimulatedHost>();
  readonly #controllers = new Map<string, SimulatedController>();
  readonly #seen = new Map<string, number>();
  readonly #answered = new Map<string, boolean>();
  #failure: Failure | undefined;
  #highestServed = 1;
  readonly #servedBy = new Map<number, string>([[1, 'web-1']]);
  #promotions = 0;
  #firstPromotionMs: number | undefined;
  #besideSinceMs: number | undefined;
  #withdrawnMs: number | undefined;

  constructor(seed: number, schedule: Schedule, options: RunOptions) {
    this.#schedule = schedule;
    this.#world = new World(seed, schedule.network, options.without, options.trace ?? false);
    const { random } = this.#world;
    const identity = 'catalog-1';
    this.#catalog = new SimulatedCatalog(this.#world, firstRow(identity));
    const rate = (): number =>
      1 + random.pick([-DRIFT_BOUND, 0, DRIFT_BOUND, random.between(-DRIFT_BOUND, DRIFT_BOUND)]);
    for (const [index, name] of HOSTS.entries()) {
      const record = { ...newHostRecord(name, identity), highestEpoch: 1, servingEpoch: index === 0 ? 1 : 0 };
      const hostOptions = {
        rate: rate(),
        kernelLateMs: random.between(0, KERNEL_LATENESS_MS),
        midPause: schedule.midPause,
      };
      const host = new SimulatedHost(this.#world, record, HOSTS[1 - index]!, hostOptions, {
        send: (from, to, message) => this.#fromHost(from, to, message),
        served: (who, epoch) => this.#noteServed(who, epoch),
        sayAlive: (who) => this.#sayAlive(who),
      });
      this.#hosts.set(name, host);
    }
    for (const replica of REPLICAS) this.#addController(replica, rate());
  }

  go(): RunResult {
    const { faults, endMs, synchronousCatalog } = this.#schedule;
    // A plan in automatic mode is refused there: nothing of this runs.
    const refused = refuseAutomatic({ synchronous: synchronousCatalog }) !== undefined;
    if (!refused || this.#world.off('synchronous-catalog')) {
      for (const fault of faults) this.#world.at(fault.atMs, () => this.#apply(fault));
      this.#world.run(endMs, () => this.#check());
      this.#checkEnd();
    }
    return {
      failure: this.#failure,
      promotions: this.#promotions,
      schedule: this.#schedule,
      trace: this.#world.trace ?? [],
    };
  }

  #addController(replica: string, rate: number): void {
    const settings = {
      replica,
      timing: FAILOVER_TIMING,
      witnesses: WITNESSES,
      agree: 2,
      sites: SITES,
      holdoffMs: this.#schedule.holdoffMs,
      powerOff: this.#schedule.powerOff,
      leases: true,
    };
    const controller = new SimulatedController(
      this.#world,
      this.#catalog,
      settings,
      {
        send: (from, to, message) => this.#fromController(from, to, message),
        runFenceScript: (host) => this.#fence(host),
      },
      rate,
    );
    this.#controllers.set(replica, controller);
  }

  #fence(host: string): boolean {
    if (this.#schedule.scriptWorks) this.#hosts.get(host)!.crash();
    this.#world.note(() => `power-off of ${host}: ${this.#schedule.scriptWorks}`);
    return this.#schedule.scriptWorks;
  }

  #fromHost(from: string, to: string, message: ToHost | ToController): void {
    if (to !== 'controller') {
      return this.#world.send(from, to, () => this.#hosts.get(to)!.take(message as ToHost));
    }
    for (const replica of REPLICAS) {
      this.#world.send(from, replica, () => this.#controllers.get(replica)!.take(message as ToController));
    }
  }

  #fromController(from: string, to: string, message: ToHost | Probe): void {
    if (message.kind === 'promote' || message.kind === 'withdraw')
      this.#world.note(() => `${from} ${JSON.stringify(message)}`);
    if (message.kind !== 'probe') return this.#world.send(from, to, () => this.#hosts.get(to)!.take(message));
    this.#world.send(from, to, () => this.#probe(from, to, message));
  }

  #sayAlive(host: string): void {
    for (const witness of WITNESSES) {
      this.#world.send(host, witness, () => this.#seen.set(`${witness} ${host}`, this.#world.nowMs));
    }
  }

  /** A witness asks the primary's application, and answers the controller in time. */
  #probe(controller: string, witness: string, { round, host }: Probe): void {
    const world = this.#world;
    const key = `${controller} ${witness} ${round}`;
    world.send(witness, host, () => {
      if (!this.#hosts.get(host)!.answersRequest()) return;
      world.send(host, witness, () => this.#answered.set(key, true));
    });
    world.after(1000, () => {
      const sawAtMs = world.off('no-witness-saw-it') ? -Infinity : (this.#seen.get(`${witness} ${host}`) ?? -Infinity);
      const sawJustNow = world.nowMs - sawAtMs < FAILOVER_TIMING.witnessMs;
      const answered = this.#answered.get(key) ?? false;
      this.#answered.delete(key);
      const answer: ProbeAnswer = { kind: 'probe-answer', witness, round, answered, sawJustNow };
      world.send(witness, controller, () => this.#controllers.get(controller)!.take(answer));
    });
  }

  #apply(fault: Scheduled): void {
    this.#world.note(() => `fault ${JSON.stringify(fault)}`);
    switch (fault.kind) {
      case 'cut':
        return this.#world.cut(fault.from, fault.to);
      case 'heal':
        return this.#world.heal(fault.from, fault.to);
      case 'roll-back':
        return this.#catalog.rollBack(fault.ageMs, fault.silent);
      case 'plan':
        for (const controller of this.#controllers.values()) controller.setPlan(fault.ready);
        return;
      case 'person-promotes':
        return this.#controllers.get('controller-1')!.take({ kind: 'person-promotes' });
      case 'person-overrides':
        return this.#controllers.get('controller-1')!.take({ kind: 'person-overrides', dead: fault.dead });
      case 'wall-jump': {
        const node = this.#hosts.get(fault.node) ?? this.#controllers.get(fault.node)!;
        node.clock.wallOffsetMs += fault.byMs;
        return;
      }
      default:
        this.#applyToNode(fault.kind, fault.node);
    }
  }

  #applyToNode(kind: Extract<Scheduled, { node: string }>['kind'], node: string): void {
    const controller = this.#controllers.get(node);
    if (controller !== undefined) {
      if (kind === 'crash') controller.crash();
      if (kind === 'boot') controller.boot();
      if (kind === 'pause') controller.paused = true;
      if (kind === 'resume') controller.resume();
      if (kind === 'clean-stop') controller.take({ kind: 'clean-stop' });
      return;
    }
    const host = this.#hosts.get(node)!;
    if (kind === 'crash') host.crash();
    if (kind === 'boot') host.boot();
    if (kind === 'pause') host.pause();
    if (kind === 'resume') host.resume();
    if (kind === 'freeze') host.freeze();
    if (kind === 'thaw') host.thaw();
    if (kind === 'kill-agent') host.killAgent();
    if (kind === 'start-agent') host.startAgent(true);
    if (kind === 'clean-stop') host.cleanStop();
  }

  #noteServed(host: string, epoch: number): void {
    this.#world.note(() => `${host} serves under epoch ${epoch}`);
    const other = this.#servedBy.get(epoch);
    if (epoch < this.#highestServed || (other !== undefined && other !== host)) {
      this.#fail(
        'lower epoch',
        `${host} serves under ${epoch}, ${other ?? 'nobody'} did, highest is ${this.#highestServed}`,
      );
    }
    this.#servedBy.set(epoch, host);
    if (epoch <= this.#highestServed) return;
    this.#highestServed = epoch;
    this.#promotions += 1;
    this.#firstPromotionMs ??= this.#world.nowMs;
  }

  #fail(assertion: Assertion, detail: string): void {
    this.#world.note(() => `FAILED ${assertion}: ${detail}`);
    this.#failure ??= { assertion, atMs: this.#world.nowMs, detail };
  }

  /** After every event. True ends the run. */
  #check(): boolean {
    const { nowMs } = this.#world;
    const [first, second] = HOSTS.map((name) => this.#hosts.get(name)!);
    const writers = [first!, second!].filter((host) => host.canWrite());
    if (writers.length === 2) this.#fail('two writers', 'both hosts take writes');
    const { servesFromMs } = this.#schedule.expect;
    if (servesFromMs !== undefined && !first!.canWrite())
      this.#fail('healthy primary stopped', 'web-1 takes no writes');
    this.#checkOrders();
    this.#checkBeside(nowMs);
    if (this.#schedule.expect.toldToStop === true) this.#checkTold(nowMs, first!);
    return this.#failure !== undefined;
  }

  #checkOrders(): void {
    const { noFailover, noOrder } = this.#schedule.expect;
    const last = this.#catalog.orders.at(-1);
    if (last === undefined) return;
    if (noFailover !== undefined) this.#fail(noFailover, 'a promotion was ordered');
    if (noOrder !== undefined && last.atMs >= noOrder[0] && last.atMs < noOrder[1]) {
      this.#fail('unwanted failover', 'a promotion was ordered in holdoff');
    }
  }

  /** Units of a lower epoch beside those that serve, with an agent that could have killed them. */
  #checkBeside(nowMs: number): void {
    const run = [...this.#hosts.values()].filter((host) => host.up && host.unitsRun);
    const lower = run.find((host) => host.disk.servingEpoch < this.#highestServed);
    const awake = lower !== undefined && lower.agentUp && !lower.agentPaused && !lower.clock.frozen;
    if (run.length < 2 || !awake) this.#besideSinceMs = undefined;
    else this.#besideSinceMs ??= nowMs;
    if (
      this.#besideSinceMs !== undefined &&
      nowMs - Math.max(this.#besideSinceMs, (lower?.agentSinceMs ?? 0) + ADOPTED_MS) > KILL_MS
    ) {
      this.#fail('units beside', `${lower?.name} still runs its units`);
    }
  }

  #checkTold(nowMs: number, primary: SimulatedHost): void {
    if (this.#catalog.row.phase !== 'open') this.#withdrawnMs ??= nowMs;
    if (
      this.#withdrawnMs !== undefined &&
      nowMs - this.#withdrawnMs > 2000 &&
      this.#catalog.row.epoch === 1 &&
      primary.canWrite()
    ) {
      this.#fail('not told to stop', 'a primary that its standby reaches takes writes 2 s after the withdrawal');
    }
  }

  #checkEnd(): void {
    if (this.#failure !== undefined) return;
    const { promotedAfterMs, someoneServesAtEnd } = this.#schedule.expect;
    if (promotedAfterMs !== undefined) {
      const tookMs = (this.#firstPromotionMs ?? Infinity) - promotedAfterMs;
      const boundMs = promotionBoundMs(FAILOVER_TIMING) * (1 + 2 * DRIFT_BOUND) + LATENESS_MS;
      if (tookMs > boundMs)
        this.#fail('failover too late', `promoted ${Math.round(tookMs)} ms after, not within ${boundMs}`);
    }
    if (someoneServesAtEnd === true && ![...this.#hosts.values()].some((host) => host.canWrite())) {
      this.#fail('nobody serves', 'no host takes writes at the end');
    }
  }
}

function firstRow(identity: string): LeaseRow {
  return {
    identity,
    phase: 'open',
    primary: 'web-1',
    standby: 'web-2',
    epoch: 1,
    nextEpoch: 2,
    grantSeq: 0,
    attempt: 0,
    serial: 0,
    disarmed: 0,
    orderSerial: 0,
    confirmed: false,
    automatic: false,
    driver: 'controller-1',
    term: 1,
    beat: 0,
  };
}
