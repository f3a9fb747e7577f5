// The watch over our slot, on a connection of its own that has nothing to do with the vault: it runs whenever the server can be
// reached.
//
// Invariants (guard.db.test.ts): G2 past the bound the slot goes, also while the controller is away; G5 a slot that nobody watches is told.
//
// Elsewhere on purpose: what a look means is decided in slot-safety.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import type { Client } from 'pg';
import type { FollowState } from './follow-state.ts';
import { serverError, sqlStateOf } from './server-connection.ts';
import { judgeSlot, keepBytes, waitsForUs, type DiskSight } from './slot-safety.ts';
import { dropSlotOn, lookAtPrimary, lookAtServer, type ServerAccess, type ServerLook } from './slot-watch.ts';

export interface WatchDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly access: ServerAccess;
  readonly slotName: string;
  readonly walKeepBytes: number | undefined;
  readonly everyMs: number;
  readonly state: FollowState;
  readonly signal: AbortSignal;
  /** The server's log ended at `end` when its clock showed `clockMs`. */
  sighted(end: bigint, clockMs: number): void;
  /** After every look, and every one that failed. */
  ticked(): void;
  /** The stream of the log must end now. */
  endStream(error: HoldfastError): void;
  /** The slot was dropped: of the log before this something will be missing. */
  letGo(before: bigint, reason: string): void;
}

const RETRY = { firstMs: 1000, capMs: 15_000 };
/** A server that stops waits until we have stored its last bytes: not longer than this. */
const FAREWELL_MS = 5000;
/** One that fails now and then is no news. */
const UNWATCHED_TRIES = 3;
const STOPPING = new Set(['57P01', '57P02', '57P03']);
/** A server that does not answer for this long is not reached. */
const ANSWER_MS = 15_000;

export class ServerWatch {
  readonly #deps: WatchDeps;
  #client: Client | undefined;
  #disk: DiskSight | undefined;
  /** At the last look; undefined: there was no slot. */
  #retainedBytes: number | undefined;
  #primary: { readonly end: bigint; readonly clockMs: number } | undefined;
  /** One look at a time on the one connection. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: WatchDeps) {
    this.#deps = deps;
  }

  /** Until the signal. Never throws. */
  async run(): Promise<void> {
    const { clock, random, signal, everyMs, log } = this.#deps;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#watch();
        failures = 0;
      } catch (error) {
        failures++;
        if (failures === 1)
          log.warn('postgres.watch-failed', { slot: this.#deps.slotName, error: toHoldfastError(error).message });
        this.#farewell(sqlStateOf(error));
        this.#tellUnwatched(failures, toHoldfastError(error));
      }
      this.#deps.ticked();
      await sleep(clock, failures === 0 ? everyMs : Math.max(everyMs, backoffMs(RETRY, failures, random())), signal);
    }
    this.#drop();
  }

  /** A fresh look. Throws a HoldfastError. Refuses (FAILED_PRECONDITION) a server whose commits would wait for us. */
  async look(): Promise<ServerLook> {
    const look = await this.#look();
    this.#refuseToBeWaitedFor(look);
    return look;
  }

  /** @param setting what was asked for, in bytes */
  keepBytes(setting: number | undefined): number {
    return keepBytes(setting, this.#disk);
  }

  async #watch(): Promise<void> {
    const { state, clock } = this.#deps;
    const look = await this.#look();
    const { slot } = look;
    const keep = this.keepBytes(this.#deps.walKeepBytes);
    state.heard(look.end, look.clockMs, clock.monotonicMs());
    try {
      this.#refuseToBeWaitedFor(look);
    } catch (error) {
      this.#deps.endStream(toHoldfastError(error));
    }
    if (look.clockMs !== undefined) this.#deps.sighted(look.end, look.clockMs);
    else await this.#sightPrimary();
    state.notes.slot = '';
    if (slot === undefined) {
      this.#retainedBytes = undefined;
      state.slot = {
        name: this.#deps.slotName,
        state: 'missing',
        retainedBytes: 0,
        keepBytes: keep,
        safeBytes: undefined,
      };
      return;
    }
    const verdict = judgeSlot(slot, keep, look.disk, this.#isFalling(slot.retainedBytes));
    const lost = verdict.kind === 'lost';
    const slotState = lost ? 'lost' : slot.active ? 'active' : 'inactive';
    const { retainedBytes, safeBytes } = slot;
    state.slot = { name: this.#deps.slotName, state: slotState, retainedBytes, keepBytes: keep, safeBytes };
    state.notes.slot = verdict.kind === 'keep' ? verdict.note : '';
    if (verdict.kind !== 'keep') await this.#letGo(look, verdict.reason);
  }

  /** A new slot begins where the server's last checkpoint did: that may be far back, and is soon read. */
  #isFalling(retainedBytes: number): boolean {
    const before = this.#retainedBytes;
    this.#retainedBytes = retainedBytes;
    return this.#deps.state.following && (before === undefined || retainedBytes <= before);
  }

  /** While the log streams nothing else would say that this connection is refused. */
  #tellUnwatched(failures: number, error: HoldfastError): void {
    const { state } = this.#deps;
    if (failures < UNWATCHED_TRIES || !state.streaming) return;
    state.notes.slot = `what the slot keeps on the server can't be watched, and is not bounded: ${error.message}`;
  }

  async #letGo(look: ServerLook, reason: string): Promise<void> {
    const { log, slotName, state } = this.#deps;
    log.error('postgres.slot-dropped', { slot: slotName, reason });
    this.#deps.letGo(look.end, reason);
    this.#deps.endStream(new HoldfastError('UNREACHABLE', reason));
    await this.#inTurn((client) => dropSlotOn(client, slotName, this.#deps.clock));
    if (state.slot !== undefined) state.slot = { ...state.slot, state: 'missing', retainedBytes: 0 };
  }

  /** What a primary said is believed when it said it twice: then nothing was on its way between. */
  async #sightPrimary(): Promise<void> {
    const before = this.#primary;
    const now = await this.#inTurn(lookAtPrimary);
    this.#primary = now;
    if (now === undefined || before === undefined || now.end !== before.end || now.clockMs <= before.clockMs) return;
    this.#deps.sighted(before.end, before.clockMs);
  }

  #refuseToBeWaitedFor({ standbyNames }: ServerLook): void {
    const { applicationName } = this.#deps.access;
    if (!waitsForUs(standbyNames, applicationName)) return;
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `the log is not followed: synchronous_standby_names (${standbyNames}) matches ${applicationName}, so every commit would wait for the vault`,
      { hint: 'Name the standbys that commits shall wait for, instead of *, and reload the server.' },
    );
  }

  #farewell(sqlState: string): void {
    const { clock, signal } = this.#deps;
    if (!STOPPING.has(sqlState)) return;
    const timer = clock.after(FAREWELL_MS, () =>
      this.#deps.endStream(new HoldfastError('UNREACHABLE', 'the server is stopping')),
    );
    signal.addEventListener('abort', () => timer.cancel(), { once: true });
  }

  async #look(): Promise<ServerLook> {
    const { slotName, access } = this.#deps;
    const look = await this.#inTurn((client) => lookAtServer(client, slotName, access.local));
    this.#disk = look.disk;
    return look;
  }

  async #inTurn<T>(work: (client: Client) => Promise<T>): Promise<T> {
    const before = this.#turn;
    const done = (async () => {
      await before;
      try {
        return await this.#within(this.#connected().then(work));
      } catch (error) {
        const failure = serverError(error);
        if (failure.code === 'UNREACHABLE') this.#drop();
        throw failure;
      }
    })();
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** The same, or an error when it takes too long, or nobody wants it any more. */
  async #within<T>(work: Promise<T>): Promise<T> {
    const { clock, signal } = this.#deps;
    const { promise, reject } = Promise.withResolvers<never>();
    const stop = (): void => reject(toHoldfastError(signal.reason));
    const timer = clock.after(ANSWER_MS, () => reject(new HoldfastError('UNREACHABLE', 'the server does not answer')));
    signal.addEventListener('abort', stop, { once: true });
    work.catch(() => undefined);
    try {
      if (signal.aborted) stop();
      return await Promise.race([work, promise]);
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', stop);
    }
  }

  async #connected(): Promise<Client> {
    if (this.#client !== undefined) return this.#client;
    const client = await this.#deps.access.connect('ordinary');
    if (this.#deps.signal.aborted) {
      void client.end();
      throw toHoldfastError(this.#deps.signal.reason);
    }
    client.on('error', () => {
      if (this.#client === client) this.#drop();
    });
    this.#client = client;
    return client;
  }

  #drop(): void {
    const client = this.#client;
    this.#client = undefined;
    // A server that is gone answers no goodbye, and nobody waits for one.
    client?.end().catch(() => undefined);
  }
}
