// This replica's part in one application: the shell around the pure machine of shared/failover/controller-replica.ts.
//
// Hazard: an effect that is carried out late or twice, on knowledge that is gone. So what binds is written by conditional transactions
// alone (lease-rows.ts), a message that could not be sent is lost (and said again by the machine), and what the catalog did not answer in
// time counts as not answered.
//
// Invariants (failover.db.test.ts): AR1 nothing is sent before the operation that allows it was committed; AR2 news are told by the driver
// alone; AR3 at most OPERATIONS_MAX operations wait for the catalog.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { overrideCatalog, type NoOverride } from '@holdfast/shared/failover/catalog-epoch';
import { stepController } from '@holdfast/shared/failover/controller-replica';
import {
  startController,
  type ControllerEffect,
  type ControllerEvent,
  type ControllerSettings,
  type ControllerState,
} from '@holdfast/shared/failover/controller-state';
import type { LeaseRow } from '@holdfast/shared/failover/lease-row';
import type { FailoverMessage, HostId } from '@holdfast/shared/failover/messages';
import { claimsCollide } from '@holdfast/shared/failover/split-brain';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type pg from 'pg';

import type { Catalog } from '../../catalog/catalog.ts';
import type { ApplicationLook, FailoverNews, FenceProof, Overridden } from '../contract.ts';
import { changeLease, readLease } from './lease-rows.ts';
import { followSigns, isSuspected, NO_SIGNS } from './signs-of-death.ts';

const OPERATIONS_MAX = 16;
/** Renewals' times that an operation may take. */
const ANSWER_WITHIN_RENEWALS = 4;
/** A claim must still be there after so many looks: one replica's look may be older than another's order. */
const COLLISION_LOOKS = 3;

export interface ReplicaDeps {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly send: (hostId: HostId, planId: string, message: FailoverMessage) => void;
  /** The probe of a witness, with what it needs to ask. */
  readonly askWitness: (witness: HostId, planId: string, primary: HostId, round: number) => void;
  /** The power-off script, on the standby. */
  readonly runFenceScript: (planId: string, row: LeaseRow, attempt: number) => void;
  readonly news: (news: FailoverNews) => void;
  /** The row was seen to change in what hosts are told. */
  readonly rowMoved: (planId: string) => void;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export class ApplicationReplica {
  readonly planId: string;
  readonly #deps: ReplicaDeps;
  #settings: ControllerSettings;
  #state: ControllerState;
  #signs = NO_SIGNS;
  #drivenTerm: number | undefined;
  #operations = 0;
  #reading = false;
  #collisions = 0;
  #fenceAgainMs = 0;
  #ended = false;

  constructor(planId: string, settings: ControllerSettings, deps: ReplicaDeps) {
    this.planId = planId;
    this.#settings = settings;
    this.#deps = deps;
    this.#state = startController(deps.clock.monotonicMs(), 1);
  }

  get state(): ControllerState {
    return this.#state;
  }

  get settings(): ControllerSettings {
    return this.#settings;
  }

  configure(settings: ControllerSettings): void {
    this.#settings = settings;
  }

  end(): void {
    this.#ended = true;
    if (this.#drivenTerm !== undefined) this.#deps.news({ kind: 'lost', planId: this.planId });
    this.#drivenTerm = undefined;
  }

  take(event: ControllerEvent): void {
    if (this.#ended) return;
    const { clock } = this.#deps;
    const before = this.#state;
    const nowMs = clock.monotonicMs();
    const step = stepController(before, event, nowMs, this.#settings);
    this.#state = step.state;
    this.#tell(before, nowMs);
    for (const effect of step.effects) this.#carryOut(effect);
    if (event.kind === 'tick') this.#fenceAgain(nowMs);
  }

  look(troubles: readonly string[]): ApplicationLook | undefined {
    const { row, identity, verdict, reports } = this.#state;
    if (row === undefined) return undefined;
    const said = [...reports.values()].flatMap(({ trouble }) => trouble ?? []);
    return {
      ...this.#signs,
      row,
      verdict,
      suspected: isSuspected(this.#state, this.#settings),
      driving: this.#drives(row),
      splitBrain: this.#collisions >= COLLISION_LOOKS,
      unreported:
        row.identity === identity
          ? []
          : [row.primary, row.standby].filter((host) => reports.get(host)?.catalog !== identity),
      troubles: [...troubles, ...said],
    };
  }

  /** Throws FAILED_PRECONDITION, BUSY. */
  async promote(proof: FenceProof): Promise<void> {
    const { row, identity } = this.#state;
    if (row === undefined || !this.#drives(row))
      throw new HoldfastError('FAILED_PRECONDITION', 'another replica drives this plan');
    if (row.phase === 'ordered' && row.confirmed) throw new HoldfastError('BUSY', 'a promotion is under way');
    const operation = { kind: 'person-order', term: row.term } as const;
    const answer = await changeLease(this.#deps.catalog, this.planId, identity, operation);
    this.take({ kind: 'row', row: answer.row, identity: answer.identity });
    if (!answer.ok) {
      throw new HoldfastError(
        'FAILED_PRECONDITION',
        'the catalog has moved on: another replica drives this plan, or it was restored',
        {
          hint: 'After a restore both hosts must report before anything is ordered.',
        },
      );
    }
    this.#deps.log('failover.ordered', { plan: this.planId, epoch: answer.row.nextEpoch, proof });
    this.take({ kind: 'tick' });
  }

  /** As Failover.override. Throws FAILED_PRECONDITION. */
  async override(deadHost: HostId, alongside: (client: pg.ClientBase) => Promise<void>): Promise<Overridden> {
    const { row, identity, reports } = this.#state;
    if (row === undefined || !this.#drives(row))
      throw new HoldfastError('FAILED_PRECONDITION', 'another replica drives this plan');
    const found = overrideCatalog(row, identity, deadHost, reports);
    if (typeof found === 'string') throw notOverridden(found);
    const answer = await changeLease(this.#deps.catalog, this.planId, identity, found, alongside);
    this.take({ kind: 'row', row: answer.row, identity: answer.identity });
    if (!answer.ok) throw notOverridden('verified');
    const { survivor, goesOn, nextEpoch: epoch } = found;
    this.#deps.log('failover.overridden', { plan: this.planId, dead: deadHost, survivor, goesOn, epoch });
    this.take({ kind: 'tick' });
    return { survivor, goesOn, epoch };
  }

  /** True once the primary said that it will not serve below the next epoch. */
  async stopPrimary(withinMs: number): Promise<boolean> {
    const { clock, send } = this.#deps;
    const { row } = this.#state;
    if (row === undefined) return false;
    const epoch = row.nextEpoch;
    const untilMs = clock.monotonicMs() + withinMs;
    const { resendMs } = this.#settings.timing;
    let sentMs = -Infinity;
    for (;;) {
      const moved = this.#state.row?.primary !== row.primary;
      if (this.#ended || moved) return moved;
      if (this.#state.primaryFencedFor >= epoch) return true;
      const nowMs = clock.monotonicMs();
      if (nowMs >= untilMs) return false;
      if (nowMs - sentMs >= resendMs) {
        send(row.primary, this.planId, { kind: 'stop', epoch });
        sentMs = nowMs;
      }
      await sleep(clock, Math.min(STOP_LOOK_MS, untilMs - nowMs));
    }
  }

  /** The order to the standby may have been lost; it runs the script once for an attempt, and says again what became of it. */
  #fenceAgain(nowMs: number): void {
    const { row, scriptedAttempt, fencedAttempt } = this.#state;
    if (row?.phase !== 'withdrawn' || scriptedAttempt !== row.attempt || fencedAttempt === row.attempt) return;
    if (nowMs < this.#fenceAgainMs) return;
    this.#fenceAgainMs = nowMs + this.#settings.timing.renewMs;
    this.#deps.runFenceScript(this.planId, row, row.attempt);
  }

  #drives(row: LeaseRow): boolean {
    return row.driver === this.#settings.replica;
  }

  #carryOut(effect: ControllerEffect): void {
    const { send, askWitness } = this.#deps;
    switch (effect.kind) {
      case 'read-row':
        return this.#read();
      case 'write-row':
        return this.#write(effect);
      case 'run-fence-script':
        // On this tick and again, below.
        return;
      default:
        if (effect.message.kind !== 'probe') return send(effect.to, this.planId, effect.message);
        return askWitness(effect.to, this.planId, effect.message.host, effect.message.round);
    }
  }

  #read(): void {
    if (this.#reading) return;
    this.#reading = true;
    void this.#readNow();
  }

  async #readNow(): Promise<void> {
    try {
      const look = await this.#answered(readLease(this.#deps.catalog, this.planId));
      if (look !== undefined) this.take({ kind: 'row', ...look });
      this.#lookForCollisions();
    } catch (error) {
      this.#deps.log('failover.catalog-silent', { plan: this.planId, error: String(error) });
    } finally {
      this.#reading = false;
    }
  }

  #write({ id, identity, operation }: Extract<ControllerEffect, { kind: 'write-row' }>): void {
    if (this.#operations >= OPERATIONS_MAX) return queueMicrotask(() => this.take({ kind: 'write-failed', id }));
    this.#operations += 1;
    this.#answered(changeLease(this.#deps.catalog, this.planId, identity, operation))
      .then(
        (answer) => this.take({ kind: 'written', id, ...answer }),
        (error: unknown) => {
          this.#deps.log('failover.catalog-silent', {
            plan: this.planId,
            operation: operation.kind,
            error: String(error),
          });
          this.take({ kind: 'write-failed', id });
        },
      )
      .finally(() => (this.#operations -= 1));
  }

  #answered<T>(work: Promise<T>): Promise<T> {
    const { clock } = this.#deps;
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new HoldfastError('TIMED_OUT', 'the catalog did not answer'));
      const timer = clock.after(this.#settings.timing.renewMs * ANSWER_WITHIN_RENEWALS, late, { background: true });
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  #lookForCollisions(): void {
    const { row, identity, reports } = this.#state;
    if (row === undefined || !this.#drives(row)) return;
    this.#collisions = claimsCollide(row, identity, reports) ? this.#collisions + 1 : 0;
    if (this.#collisions === COLLISION_LOOKS) this.#deps.news({ kind: 'split-brain', planId: this.planId });
  }

  #tell(before: ControllerState, nowMs: number): void {
    const { planId } = this;
    const { news, rowMoved, clock, log } = this.#deps;
    const after = this.#state;
    const { row } = after;
    if (row === undefined) return;
    const signs = this.#signs;
    this.#signs = followSigns(signs, before, after, nowMs, clock.wallMs());
    if (row !== before.row) this.#tellDriving(row);
    const told =
      before.row === undefined || before.identity !== after.identity || toldParts(before.row) !== toldParts(row);
    if (told) rowMoved(planId);
    if (!this.#drives(row)) return;
    if (before.row !== undefined && row.epoch > before.row.epoch && row.primary !== before.row.primary) {
      log('failover.promoted', { plan: planId, epoch: row.epoch, host: row.primary, automatic: row.automatic });
      news({ kind: 'promoted', planId, epoch: row.epoch, automatic: row.automatic, signs });
      return;
    }
    if (!isSuspected(before, this.#settings) && isSuspected(after, this.#settings)) news({ kind: 'suspected', planId });
    if (before.verdict !== after.verdict) log('failover.verdict', { plan: planId, verdict: after.verdict });
    if (before.verdict !== 'dead' && after.verdict === 'dead' && !this.#settings.leases) {
      news({ kind: 'dead', planId, signs: this.#signs });
    }
  }

  #tellDriving(row: LeaseRow): void {
    const { planId } = this;
    const term = this.#drives(row) ? row.term : undefined;
    if (term === this.#drivenTerm) return;
    this.#drivenTerm = term;
    if (term !== undefined) this.#deps.log('failover.drives', { plan: planId, term });
    this.#deps.news(term === undefined ? { kind: 'lost', planId } : { kind: 'driving', planId, term });
  }
}

const STOP_LOOK_MS = 50;

function notOverridden(why: NoOverride): HoldfastError {
  const [message, hint] = NOT_OVERRIDDEN[why];
  return new HoldfastError('FAILED_PRECONDITION', message, hint === '' ? {} : { hint });
}

const NOT_OVERRIDDEN: { readonly [W in NoOverride]: readonly [message: string, hint: string] } = {
  verified: [
    'there is nothing to override: both hosts have reported since the catalog was restored, or it never was',
    '',
  ],
  'not a host of it': ['the plan does not run on this host', 'See who is which with: holdfast plan show NAME'],
  'has reported': [
    'there is nothing to override: that host has reported since the catalog was restored, so it is not off',
    'The plan goes on by itself as soon as both have.',
  ],
  'the other one is silent': [
    'the other host has not reported since the catalog was restored: nobody knows yet which epochs there were',
    'Start its agent, and say it again. Of two hosts that are both lost, a plan can only be removed and applied anew.',
  ],
};

/** What of a row its hosts are told. */
function toldParts({ identity, primary, epoch, disarmed }: LeaseRow): string {
  return `${identity} ${primary} ${epoch} ${disarmed === 0}`;
}
