// Stands guard over a server's binary log: follows it, begins again when something broke, records what was lost, and takes the
// bases that the log needs.
//
// Hazards: a log that stops being stored without anybody knowing (every state is reported, with the lag measured on the server, not
// by what arrived); a server that is asked again and again (backoff with jitter); a log that goes on from a hole (the vault's end
// decides, and what the server no longer has is recorded as a gap before anything else is sent).
//
// Invariants (log-guard.db.test.ts):
//   G1 what is stored is the server's files byte for byte, through rotations, restarts and broken connections;
//   G2 a purged file is a gap, and a base follows; a log begun anew is another stream, and a base follows;
//   G3 after `stop` nothing runs, no connection is open.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import type { LogPosition, LogStatus, LogStream } from '@holdfast/shared/format/log-point';
import { sleep } from '@holdfast/shared/runtime/clock';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import { createHash } from 'node:crypto';
import type { EngineSpec } from '../../../jobs/job.ts';
import type { LogClient, LogSession } from '../../../link/log-port.ts';
import { BaseKeeper } from '../../bases/base-keeper.ts';
import type { GuardDeps } from '../../engine.ts';
import { comparePositions, fromLogPosition, toLogPosition } from '../binlog/position.ts';
import { accountName, addressOf, loginOf, serverOf } from '../dsn.ts';
import { ServerSession } from '../protocol/server-session.ts';
import { momentOf, serverLog, variablesOf, type ServerMoment } from '../server-facts.ts';
import { readSettings } from '../settings.ts';
import { BinlogFollower, type StoredPiece } from './binlog-follower.ts';
import { resumeStream } from './own-stream.ts';
import { AnotherLog } from './piece-builder.ts';
import type { ResumePlan } from './resume-plan.ts';
import { forgetStored, noteStored } from './stored-progress.ts';
import { folderOf, saveRecord, withAnchor, type StreamRecord } from './stream-record.ts';

export interface LogGuardDeps extends GuardDeps {
  readonly logs: LogClient;
}

const RETRY = { firstMs: 1_000, capMs: 60_000 };
/** How often the server is asked where it is: so exactly can a restore tell transactions of one second apart. */
const POLL_MS = 500;
const REPORT_MS = 2_000;
/** A server that doesn't answer a question for so long is taken for gone. */
const SILENT_MS = 30_000;
const SAVE_MS = 1_000;
const CATCHING_UP_BYTES = 8 * 1024 * 1024;

type Measured = Pick<LogStatus, 'stored' | 'lagBytes' | 'lagMs' | 'completeToMs'>;

export class LogGuard {
  readonly #source: EngineSpec;
  readonly #deps: LogGuardDeps;
  readonly #stopping = new AbortController();
  #bases: BaseKeeper | undefined;
  #baseNote = '';
  #running: Promise<void> = Promise.resolve();
  #record: StreamRecord | undefined;
  #stored: LogPosition | undefined;
  #completeToMs = 0;
  /** Of one moment: a position and the lag of another would say that more was written than there is. */
  #measured: Measured = { stored: undefined, lagBytes: 0, lagMs: 0, completeToMs: 0 };
  /** Monotonic; before the first time, since when the server is asked for. */
  #measuredAtMs: number;
  #note = '';
  #connected = false;
  #said = '';
  #saidAtMs = 0;
  #savedAtMs = 0;
  #anew = '';

  constructor(source: EngineSpec, deps: LogGuardDeps) {
    this.#source = source;
    this.#deps = deps;
    this.#measuredAtMs = deps.clock.monotonicMs();
  }

  start(): void {
    this.#running = this.#stand();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#bases?.stop();
    forgetStored(this.#source.sourceId);
    if (this.#record !== undefined) saveRecord(this.#deps.stateDir, this.#source.sourceId, this.#record);
  }

  async #stand(): Promise<void> {
    const { clock, random, log } = this.#deps;
    const { signal } = this.#stopping;
    let failures = 0;
    while (!signal.aborted) {
      const startedMs = clock.monotonicMs();
      try {
        await this.#follow(signal);
      } catch (thrown) {
        if (signal.aborted) break;
        const error = toHoldfastError(thrown);
        this.#anew = error instanceof AnotherLog ? error.message : '';
        failures = clock.monotonicMs() - startedMs > RETRY.capMs ? 1 : failures + 1;
        log.warn('mariadb.log-broken', { sourceId: this.#source.sourceId, code: error.code, error: error.message });
        this.#connected = false;
        this.#note = error.hint === '' ? error.message : `${error.message}. ${error.hint}`;
        this.#report();
        await sleep(clock, RETRY.firstMs / 4 + backoffMs(RETRY, failures, random()), signal);
      }
    }
  }

  /** From connecting to whatever ends it. */
  async #follow(signal: AbortSignal): Promise<never> {
    this.#bases ??= this.#keepBases();
    const login = loginOf(addressOf(this.#source.engine.settings), accountName());
    const server = await ServerSession.open(login, signal);
    try {
      const asking = await ServerSession.open(login, signal);
      try {
        const session = await this.#deps.logs.openLog({ sourceId: this.#source.sourceId, signal });
        try {
          return await this.#followWith(server, asking, session, signal);
        } finally {
          session.close();
        }
      } finally {
        asking.close();
      }
    } finally {
      server.close();
    }
  }

  /** Throws INVALID_ARGUMENT for settings that can't be read. */
  #keepBases(): BaseKeeper {
    const { stateDir } = this.#deps;
    const { sourceId, engine } = this.#source;
    return new BaseKeeper({
      ...this.#deps,
      source: this.#source,
      everyMs: readSettings(engine.settings).baseEveryMs,
      server: serverOf(engine.settings),
      folder: folderOf(stateDir, sourceId),
      file: 'base.json',
      streaming: () => this.#connected,
      noted: (note) => {
        this.#baseNote = note;
        this.#report();
      },
    });
  }

  async #followWith(
    server: ServerSession,
    asking: ServerSession,
    session: LogSession,
    signal: AbortSignal,
  ): Promise<never> {
    const { stateDir, clock, log } = this.#deps;
    const { sourceId } = this.#source;
    asking.endAfterMs(SILENT_MS);
    const plan = await resumeStream(asking, session.ends, this.#anew, { stateDir, sourceId, clock });
    this.#anew = '';
    this.#begin(plan);
    if (plan.begun !== '')
      log.info('mariadb.log-begun', { sourceId, stream: plan.record.stream.systemIdentifier, why: plan.begun });
    if (plan.gap !== undefined)
      log.warn('mariadb.log-gap', { sourceId, from: plan.gap.start.text, to: plan.gap.end.text });
    const { codec, level } = this.#source.compression;
    const follower = new BinlogFollower({
      server,
      session,
      plan,
      keys: this.#keys(),
      compression: { codec: codec === 'none' ? 'stored' : codec, ...(level === 0 ? {} : { level }) },
      clock,
      replicaId: replicaIdOf(sourceId),
      onStored: (piece) => this.#pieceStored(plan.record.stream, piece),
    });
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    const cancelled = Promise.withResolvers<never>();
    const cancel = (): void => cancelled.reject(new HoldfastError('CANCELLED', 'the guard stands down'));
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    try {
      const following = follower.run();
      // The base needs the log from its own start on, so the log is followed first.
      if (session.baseNeeded || plan.gap !== undefined || plan.begun !== '') {
        this.#bases?.need({ stream: plan.record.stream, from: toLogPosition(plan.storedTo).order });
      }
      return await Promise.race([following, this.#ask(asking, follower, both), cancelled.promise]);
    } finally {
      ended.abort();
      signal.removeEventListener('abort', cancel);
    }
  }

  #begin(plan: ResumePlan): void {
    this.#record = plan.record;
    this.#connected = true;
    this.#note = '';
    const stored = plan.storedTo;
    this.#stored = toLogPosition(stored);
    noteStored(this.#source.sourceId, plan.record.stream, this.#stored);
  }

  /** Asks the server where it is, for as long as it is followed. */
  async #ask(asking: ServerSession, follower: BinlogFollower, signal: AbortSignal): Promise<never> {
    for (;;) {
      const stored = this.#stored;
      const moment = await momentOf(asking);
      // A server whose log was begun anew may go on holding the old one open for us, and send nothing, without an error.
      if (stored !== undefined && comparePositions(fromLogPosition(stored), moment.position) > 0) {
        const { file, offset } = moment.position;
        throw new AnotherLog(`it ends at ${file}:${offset}, before ${stored.text}, which is stored`);
      }
      follower.noteMoment(moment);
      await this.#measure(asking, moment);
      if (this.#measured.lagBytes === 0) follower.noteQuiet(moment);
      this.#bases?.tick();
      await sleep(this.#deps.clock, POLL_MS, signal);
      if (signal.aborted) throw new HoldfastError('CANCELLED', 'the guard stands down');
    }
  }

  async #measure(asking: ServerSession, { atMs, position }: ServerMoment): Promise<void> {
    const now = this.#stored;
    if (now === undefined) return;
    const stored = fromLogPosition(now);
    if (comparePositions(stored, position) >= 0) {
      this.#completeToMs = Math.max(this.#completeToMs, atMs);
      this.#measured = { stored: now, lagBytes: 0, lagMs: 0, completeToMs: this.#completeToMs };
    } else {
      const completeToMs = this.#completeToMs;
      let lagBytes = position.offset - stored.offset;
      if (stored.file !== position.file) {
        const { files } = await serverLog(asking, await variablesOf(asking));
        const between = files.filter(({ name }) => name >= stored.file && name < position.file);
        lagBytes += between.reduce((sum, { bytes }) => sum + bytes, 0);
      }
      this.#measured = { stored: now, lagBytes, lagMs: Math.max(0, atMs - completeToMs), completeToMs };
    }
    this.#measuredAtMs = this.#deps.clock.monotonicMs();
    this.#report();
  }

  #pieceStored(stream: LogStream, { end, anchor, completeToMs }: StoredPiece): void {
    const { clock, stateDir } = this.#deps;
    this.#stored = end;
    this.#completeToMs = Math.max(this.#completeToMs, completeToMs);
    noteStored(this.#source.sourceId, stream, end);
    if (anchor !== undefined && this.#record !== undefined) this.#record = withAnchor(this.#record, anchor);
    const now = clock.monotonicMs();
    if (this.#record === undefined || now - this.#savedAtMs < SAVE_MS) return;
    this.#savedAtMs = now;
    saveRecord(stateDir, this.#source.sourceId, this.#record);
  }

  #keys(): DomainKeys {
    const { domainSecret, domainId, keyEpoch } = this.#deps.identity();
    if (domainSecret === undefined) {
      throw new HoldfastError('FAILED_PRECONDITION', "this host doesn't have its domain's secret", {
        hint: 'The domain is sealed: hand the secret over with `holdfast-agent secret`.',
      });
    }
    return deriveDomainKeys(domainSecret, domainId, keyEpoch);
  }

  /** At once when something changed in words, else every REPORT_MS. */
  #report(): void {
    const note = [this.#note, this.#baseNote].filter((text) => text !== '').join('; ');
    const state = this.#state();
    const now = this.#deps.clock.monotonicMs();
    const said = `${state} ${this.#measured.lagBytes === 0} ${note}`;
    if (said === this.#said && now - this.#saidAtMs < REPORT_MS) return;
    this.#said = said;
    this.#saidAtMs = now;
    const status: LogStatus = {
      state,
      stream: this.#record?.stream,
      ...this.#measured,
      // Of a server that is not reached nobody knows what it wrote since.
      lagMs: this.#measured.lagMs + (this.#connected ? 0 : Math.max(0, Math.round(now - this.#measuredAtMs))),
      slot: undefined,
      note,
    };
    this.#deps.report({ sourceId: this.#source.sourceId, watching: 'continuous', note, log: status });
  }

  #state(): LogStatus['state'] {
    if (!this.#connected) return 'waiting';
    return this.#measured.lagBytes > CATCHING_UP_BYTES ? 'catching-up' : 'following';
  }
}

/** Our number among the server's replicas: the same for the same source, so that a connection that we lost is ended by the next. */
function replicaIdOf(sourceId: string): number {
  return (createHash('sha256').update(`holdfast ${sourceId}`).digest().readUInt32LE(0) | 0x8000_0000) >>> 0;
}
