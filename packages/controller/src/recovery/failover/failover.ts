// Who serves each application: this replica's machines, their ticks, and what comes from hosts and other replicas.
//
// Hazards: a host that speaks for another one (what it says of others is dropped); a host whose stream is at another replica (what it says,
// and what it is told, goes through the catalog's notifications, which may be lost like any message here).
//
// Invariants (failover.db.test.ts): FO1 a host is heard about itself alone, and about applications that it is part of; FO2 a stop disarms
// what it may, within STOP_WITHIN_RENEWALS renewals; FO3 a plan that is not ready, or a catalog that may forget, never promotes by itself.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ControllerEvent } from '@holdfast/shared/failover/controller-state';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import { refuseAutomatic } from '@holdfast/shared/failover/catalog-epoch';
import { FAILOVER_TIMING, type FailoverTiming } from '@holdfast/shared/failover/timing';
import { decodeFailover, encodeFailover, type ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvent, FleetEvents } from '../../fleet/fleet-events.ts';
import type { AppliedPlan, Failover, FailoverLink, FailoverNews } from '../contract.ts';
import { ApplicationReplica, type ReplicaDeps } from './application-replica.ts';
import { probeUrl, settingsOf, specFor } from './application-settings.ts';
import { catalogIsSynchronous, readLease, removedApplications } from './lease-rows.ts';

export interface FailoverDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly clock: Clock;
  /** This process, as rows name their driver: never used twice. */
  readonly replica: string;
  readonly link: FailoverLink;
  readonly plans: () => Promise<readonly AppliedPlan[]>;
  /** A host's agent's addresses for peers. */
  readonly peersOf: (hostId: string) => Promise<readonly string[]>;
  /** The applications of these hosts have changed: they are to be told. */
  readonly tellHosts: (hostIds: readonly string[]) => void;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  readonly timing?: FailoverTiming;
}

export interface HostFailover extends Failover {
  /** What this host is told about its applications; those that nothing is known of yet are left out. */
  applications(hostId: string): Promise<HostApplications>;
}

export interface HostApplications {
  readonly specs: readonly ApplicationSpec[];
  readonly removed: readonly string[];
}

const TICK_MS = 250;
const CHECK_CATALOG_MS = 30_000;
/** Of a round: the rest is for the way there and back. */
const WITNESS_SHARE = 0.75;
const STOP_WITHIN_RENEWALS = 1.5;
const RELAYED: ReadonlySet<FailoverMessage['kind']> = new Set([
  'status',
  'stopped',
  'promoted',
  'refused',
  'probe-answer',
  'fence-result',
]);

/** Starts with the plans that are applied. */
export async function openFailover(deps: FailoverDeps): Promise<HostFailover> {
  const failover = new RunningFailover(deps);
  await failover.start();
  return failover;
}

interface Followed {
  applied: AppliedPlan;
  readonly replica: ApplicationReplica;
}

class RunningFailover implements HostFailover {
  readonly #deps: FailoverDeps;
  readonly #timing: FailoverTiming;
  readonly #followed = new Map<string, Followed>();
  readonly #listeners = new Set<(news: FailoverNews) => void>();
  readonly #notReady = new Set<string>();
  #automaticRefused: string | undefined;
  #checkedAtMs = -Infinity;
  #ticking: { cancel(): void } | undefined;
  #unsubscribe: () => void = () => undefined;
  #changing: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: FailoverDeps) {
    this.#deps = deps;
    this.#timing = deps.timing ?? FAILOVER_TIMING;
  }

  async start(): Promise<void> {
    this.#unsubscribe = this.#deps.events.subscribe((event) => this.#onEvent(event));
    await this.#checkCatalog();
    await this.plansChanged();
    this.#tick();
  }

  plansChanged(): Promise<void> {
    this.#changing = this.#changing.catch(() => undefined).then(() => this.#readPlans());
    return this.#changing;
  }

  heard(hostId: string, planId: string, message: FailoverMessage): void {
    if (this.#hear(hostId, planId, message) && RELAYED.has(message.kind)) this.#relay(hostId, planId, message, false);
  }

  look(planId: string): ReturnType<Failover['look']> {
    return this.#followed
      .get(planId)
      ?.replica.look(this.#automaticRefused === undefined ? [] : [this.#automaticRefused]);
  }

  setReady(planId: string, ready: boolean): void {
    if (ready) this.#notReady.delete(planId);
    else this.#notReady.add(planId);
    this.#followed.get(planId)?.replica.take({ kind: 'plan', ready });
  }

  promote(planId: string, proof: Parameters<Failover['promote']>[1]): Promise<void> {
    return this.#of(planId).replica.promote(proof);
  }

  override(planId: string, ...word: Parameters<ApplicationReplica['override']>): ReturnType<Failover['override']> {
    return this.#of(planId).replica.override(...word);
  }

  stopPrimary(planId: string, withinMs: number): Promise<boolean> {
    return this.#of(planId).replica.stopPrimary(withinMs);
  }

  subscribe(heard: (news: FailoverNews) => void): () => void {
    this.#listeners.add(heard);
    return () => this.#listeners.delete(heard);
  }

  async applications(hostId: string): Promise<HostApplications> {
    const specs: ApplicationSpec[] = [];
    for (const { applied, replica } of this.#followed.values()) {
      const { row, identity } = replica.state;
      if (row === undefined || (row.primary !== hostId && row.standby !== hostId)) continue;
      const other = row.primary === hostId ? row.standby : row.primary;
      specs.push(specFor(applied, hostId, this.#timing, row, identity, await this.#deps.peersOf(other)));
    }
    return { specs, removed: await removedApplications(this.#deps.catalog.pool, hostId) };
  }

  async stop(): Promise<void> {
    const { clock } = this.#deps;
    const untilMs = clock.monotonicMs() + this.#timing.renewMs * STOP_WITHIN_RENEWALS;
    const bound = [...this.#followed.values()].filter(({ replica }) => replica.settings.leases);
    for (const { replica } of bound) replica.take({ kind: 'clean-stop' });
    const isBound = (): boolean => bound.some(({ replica }) => !replica.state.cleanlyDisarmed);
    while (isBound() && clock.monotonicMs() < untilMs) await sleep(clock, STOP_LOOK_MS);
    this.#stopped = true;
    this.#ticking?.cancel();
    this.#unsubscribe();
    await this.#changing.catch(() => undefined);
    for (const { replica } of this.#followed.values()) replica.end();
  }

  #of(planId: string): Followed {
    const followed = this.#followed.get(planId);
    if (followed === undefined) throw new HoldfastError('FAILED_PRECONDITION', 'nothing is known of this plan yet');
    return followed;
  }

  #tick(): void {
    if (this.#stopped) return;
    const { clock } = this.#deps;
    for (const { replica } of this.#followed.values()) replica.take({ kind: 'tick' });
    if (clock.monotonicMs() - this.#checkedAtMs >= CHECK_CATALOG_MS) void this.#checkCatalog();
    const every = Math.min(TICK_MS, this.#timing.renewMs / 4);
    this.#ticking = clock.after(every, () => this.#tick(), { background: true });
  }

  /** FO3. */
  async #checkCatalog(): Promise<void> {
    this.#checkedAtMs = this.#deps.clock.monotonicMs();
    try {
      const refused = refuseAutomatic({ synchronous: await catalogIsSynchronous(this.#deps.catalog.pool) });
      if (refused === this.#automaticRefused) return;
      this.#automaticRefused = refused;
      if (refused !== undefined) this.#deps.log('failover.automatic-refused', { reason: refused });
      for (const { applied, replica } of this.#followed.values()) replica.configure(this.#settingsOf(applied));
    } catch (error) {
      this.#deps.log('failover.catalog-silent', { error: String(error) });
    }
  }

  #settingsOf(applied: AppliedPlan): ReturnType<typeof settingsOf> {
    return settingsOf(applied, this.#deps.replica, this.#timing, this.#automaticRefused !== undefined);
  }

  async #readPlans(): Promise<void> {
    const plans = await this.#deps.plans();
    if (this.#stopped) return;
    const touched = new Set<string>();
    for (const applied of plans) {
      const known = this.#followed.get(applied.id);
      if (known === undefined) {
        const replica = new ApplicationReplica(applied.id, this.#settingsOf(applied), this.#replicaDeps());
        this.#followed.set(applied.id, { applied, replica });
        if (this.#notReady.has(applied.id)) replica.take({ kind: 'plan', ready: false });
        replica.take({ kind: 'tick' });
        continue;
      }
      known.applied = applied;
      known.replica.configure(this.#settingsOf(applied));
      for (const name of applied.plan.placement.hosts) touched.add(applied.hostIds.get(name) ?? '');
    }
    const ids = new Set(plans.map(({ id }) => id));
    for (const [id, { applied, replica }] of this.#followed) {
      // One whose document can't be read (by an older program) is not removed: its primary lives on its grants.
      if (ids.has(id) || (await readLease(this.#deps.catalog, id)) !== undefined) continue;
      replica.end();
      this.#followed.delete(id);
      this.#notReady.delete(id);
      for (const hostId of applied.hostIds.values()) touched.add(hostId);
    }
    this.#deps.tellHosts([...touched]);
  }

  #replicaDeps(): ReplicaDeps {
    const { catalog, clock, log } = this.#deps;
    return {
      catalog,
      clock,
      log,
      send: (hostId, planId, message) => this.#send(hostId, planId, message),
      askWitness: (witness, planId, host, round) => void this.#askWitness(witness, planId, host, round),
      runFenceScript: (planId, row, attempt) => {
        const { plan, hostIds } = this.#of(planId).applied;
        const host = plan.placement.hosts.find((name) => hostIds.get(name) === row.primary) ?? '';
        this.#send(row.standby, planId, { kind: 'fence', host, attempt });
      },
      news: (news) => {
        for (const listener of this.#listeners) listener(news);
      },
      rowMoved: (planId) => {
        const { row } = this.#followed.get(planId)?.replica.state ?? {};
        if (row !== undefined) this.#deps.tellHosts([row.primary, row.standby]);
      },
    };
  }

  #send(hostId: string, planId: string, message: FailoverMessage): void {
    if (!this.#deps.link.send(hostId, planId, message)) this.#relay(hostId, planId, message, true);
  }

  async #askWitness(witness: string, planId: string, host: string, round: number): Promise<void> {
    const { applied } = this.#of(planId);
    const peerAddresses = await this.#deps.peersOf(host).catch(() => []);
    const withinMs = Math.round(this.#timing.witnessMs * WITNESS_SHARE);
    this.#send(witness, planId, { kind: 'probe', round, host, url: probeUrl(applied, host), peerAddresses, withinMs });
  }

  #relay(hostId: string, planId: string, message: FailoverMessage, toHost: boolean): void {
    const { events, catalog, replica, log } = this.#deps;
    const bytes = encodeFailover(planId, message);
    if (bytes.length > RELAY_MAX_BYTES) return;
    const event = { kind: 'failover', replica, hostId, toHost, message: bytes.toString('base64') } as const;
    events.tell(catalog.pool, event).catch((error: unknown) => log('failover.relay-failed', { error: String(error) }));
  }

  #onEvent(event: FleetEvent): void {
    if (event.kind === 'plans') {
      void this.plansChanged().catch((error: unknown) =>
        this.#deps.log('failover.plans-unread', { error: String(error) }),
      );
    }
    if (event.kind === 'connected') this.#tellOthers(event.hostId);
    if (event.kind !== 'failover' || event.replica === this.#deps.replica) return;
    const { application, message } = decodeFailover(Buffer.from(event.message, 'base64'));
    if (event.toHost) this.#deps.link.send(event.hostId, application, message);
    else this.#hear(event.hostId, application, message);
  }

  /** Its agent may answer its peers elsewhere now. */
  #tellOthers(hostId: string): void {
    for (const { replica } of this.#followed.values()) {
      const { row } = replica.state;
      if (row?.primary === hostId || row?.standby === hostId) this.#deps.tellHosts([row.primary, row.standby]);
    }
  }

  /** FO1. False when it was not for this host to say. */
  #hear(hostId: string, planId: string, message: FailoverMessage): boolean {
    const followed = this.#followed.get(planId);
    const row = followed?.replica.state.row;
    if (followed === undefined || row === undefined) return false;
    const isPart = row.primary === hostId || row.standby === hostId;
    const isWitness = followed.replica.settings.witnesses.includes(hostId);
    if (message.kind === 'boot' && isPart && message.host === hostId) {
      void this.#answerBoot(hostId, planId);
      return true;
    }
    const event = eventOf(hostId, message, isPart, isWitness, row.standby === hostId);
    if (event === undefined) {
      this.#deps.log('failover.not-for-this-host', { plan: planId, host: hostId, kind: message.kind });
      return false;
    }
    followed.replica.take(event);
    return true;
  }

  /** From the row as it is now: this replica's memory may be a renewal old. */
  async #answerBoot(hostId: string, planId: string): Promise<void> {
    const look = await readLease(this.#deps.catalog, planId).catch(() => undefined);
    if (look === undefined || look.row.identity !== look.identity) return;
    const { row } = look;
    const highestEpoch = row.phase === 'ordered' ? row.nextEpoch : row.epoch;
    this.#send(hostId, planId, { kind: 'boot-answer', highestEpoch });
  }
}

/** Undefined for what this host may not say. */
function eventOf(
  hostId: string,
  message: FailoverMessage,
  isPart: boolean,
  isWitness: boolean,
  isStandby: boolean,
): ControllerEvent | undefined {
  switch (message.kind) {
    case 'renew':
      return isPart && message.host === hostId && message.report.host === hostId ? message : undefined;
    case 'status':
      return isPart && message.report.host === hostId ? message : undefined;
    case 'stopped':
    case 'promoted':
      return isPart && message.host === hostId ? message : undefined;
    case 'refused':
    case 'fence-result':
      return isStandby ? message : undefined;
    case 'probe-answer':
      return isWitness && message.witness === hostId ? message : undefined;
    default:
      return undefined;
  }
}

/** A notification holds 8,000 bytes. */
const RELAY_MAX_BYTES = 5000;
const STOP_LOOK_MS = 50;
