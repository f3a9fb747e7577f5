// One control stream, from hello to its end.
//
// Hazard: a stream that looks alive and is not (threat 14). HTTP/2 pings of the channel find a peer that is gone, and a
// stream that was not welcomed in time is dropped, so nothing here waits for ever. A stalled receiver must not make the
// agent pile up messages: progress and heartbeats are skipped while earlier messages have not left.
//
// Invariants (agent.test.ts): C1 hello first, and nothing else before the welcome; C2 after the welcome every
// result that was not received is sent, and again every RESEND_MS until it is; C3 progress of a job is sent at most four
// times a second, its last value always before its result; C4 a message that cannot be understood ends nothing but itself.
//
// When a new stream is opened is decided in reconnect.ts and done in control-link.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import {
  applicationFromWire,
  failoverFromWire,
  failoverToWire,
  type ApplicationSpec,
} from '@holdfast/shared/rpc/failover-wire';
import { openDuplex, type Channel, type Duplex } from '@holdfast/shared/rpc/calls';
import {
  ControlDefinition,
  type AgentMessage,
  type ControllerMessage,
  type Welcome,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { ApplicationList } from '@holdfast/shared/rpc/gen/holdfast/v1/failover';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { Job, JobOutcome, JobProgress, SourceSpec } from '../jobs/job.ts';
import type { PendingResult } from '../jobs/result-store.ts';
import {
  finishedMessage,
  heartbeatMessage,
  helloMessage,
  jobFromWire,
  progressMessage,
  sourceFromWire,
  sourceReportMessage,
  type Hello,
  type SourceReport,
} from './control-wire.ts';
import type { WarmReport } from '../recovery/warm/warm-report.ts';
import { warmReportMessage } from './recovery-wire.ts';

export interface ControlStreamDeps {
  readonly channel: Channel;
  readonly clock: Clock;
  readonly log: Log;
  readonly hello: () => Hello;
  readonly memoryBytes: () => number;
  readonly pendingResults: () => readonly PendingResult[];
  readonly sourceReports: () => readonly SourceReport[];
}

export interface ControlListener {
  onWelcome(welcome: { readonly hostId: string; readonly renew: boolean }): void;
  onSources(sources: readonly SourceSpec[]): void;
  onJob(job: Job): void;
  onCancel(jobId: string): void;
  onReceived(jobId: string): void;
  onFailover(application: string, message: FailoverMessage): void;
  onApplications(applications: readonly ApplicationSpec[], removed: readonly string[]): void;
  /** A job that this agent cannot do; the answer goes out like any other. */
  onUnintelligible(jobId: string, error: HoldfastError): void;
}

export interface ControlStream {
  /** Settles when the stream has ended, with why. */
  readonly ended: Promise<{ readonly error: HoldfastError | undefined; readonly connectedForMs: number }>;
  progress(jobId: string, progress: JobProgress): void;
  finished(jobId: string, outcome: JobOutcome): void;
  report(report: SourceReport): void;
  warm(report: WarmReport): void;
  /** May be lost: it is said again. */
  failover(application: string, message: FailoverMessage): void;
  /** Ends it in good order; after `withinMs` abruptly. */
  close(withinMs: number): void;
}

const WELCOME_WITHIN_MS = 20_000;
const PROGRESS_EVERY_MS = 250;
const RESEND_MS = 60_000;
const MIN_HEARTBEAT_MS = 200;
/** Messages that have not left; beyond this the skippable ones are skipped. */
const MAX_UNSENT = 32;

export function openControlStream(deps: ControlStreamDeps, listener: ControlListener): ControlStream {
  return new LinkedControlStream(deps, listener);
}

interface Thinned {
  latest: JobProgress | undefined;
  timer: Timer | undefined;
}

class LinkedControlStream implements ControlStream {
  readonly ended: ControlStream['ended'];
  readonly #deps: ControlStreamDeps;
  readonly #listener: ControlListener;
  readonly #stream: Duplex<AgentMessage>;
  readonly #timers = new Set<Timer>();
  readonly #progress = new Map<string, Thinned>();
  #welcomedAtMs: number | undefined;
  #unsent = 0;
  #over = false;
  #resolveEnded: (end: { error: HoldfastError | undefined; connectedForMs: number }) => void = () => {};

  constructor(deps: ControlStreamDeps, listener: ControlListener) {
    this.#deps = deps;
    this.#listener = listener;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#stream = openDuplex<AgentMessage, ControllerMessage>(
      { channel: deps.channel, service: ControlDefinition.fullName, clock: deps.clock },
      ControlDefinition.methods.connect,
      { onMessage: (message) => this.#received(message), onEnd: (error) => this.#finish(error) },
    );
    this.#send(helloMessage(deps.hello()));
    this.#after(WELCOME_WITHIN_MS, () => {
      if (this.#welcomedAtMs === undefined)
        this.#abandon(new HoldfastError('TIMED_OUT', 'the controller did not welcome this host'));
    });
  }

  progress(jobId: string, progress: JobProgress): void {
    if (this.#over || this.#welcomedAtMs === undefined) return;
    const thinned = this.#progress.get(jobId);
    if (thinned !== undefined) {
      thinned.latest = progress;
      return;
    }
    if (this.#unsent < MAX_UNSENT) this.#send(progressMessage(jobId, progress));
    this.#pauseProgress(jobId);
  }

  finished(jobId: string, outcome: JobOutcome): void {
    if (this.#over || this.#welcomedAtMs === undefined) return;
    const thinned = this.#progress.get(jobId);
    if (thinned?.latest !== undefined) this.#send(progressMessage(jobId, thinned.latest));
    thinned?.timer?.cancel();
    this.#progress.delete(jobId);
    this.#send(finishedMessage(jobId, outcome));
  }

  report(report: SourceReport): void {
    if (!this.#over && this.#welcomedAtMs !== undefined) this.#send(sourceReportMessage(report));
  }

  warm(report: WarmReport): void {
    if (this.#over || this.#welcomedAtMs === undefined || this.#unsent >= MAX_UNSENT) return;
    this.#send(warmReportMessage(report));
  }

  failover(application: string, message: FailoverMessage): void {
    if (this.#over || this.#welcomedAtMs === undefined || this.#unsent >= MAX_UNSENT) return;
    this.#send({ kind: { $case: 'failover', value: failoverToWire(application, message) } });
  }

  close(withinMs: number): void {
    if (this.#over) return;
    this.#stream.end();
    this.#after(withinMs, () => this.#abandon(undefined));
  }

  #received(message: ControllerMessage): void {
    const { kind } = message;
    if (this.#welcomedAtMs === undefined) {
      if (kind?.$case === 'welcome') this.#welcomed(kind.value);
      else this.#abandon(new HoldfastError('PROTOCOL_VIOLATION', 'the controller spoke before it welcomed this host'));
      return;
    }
    if (kind?.$case === 'sources') {
      this.#sources(kind.value.sources);
    } else if (kind?.$case === 'job') {
      const { jobId } = kind.value;
      let job: Job;
      try {
        job = jobFromWire(kind.value);
      } catch (error) {
        this.#deps.log.warn('control.job-not-understood', { jobId, error: toHoldfastError(error).message });
        this.#listener.onUnintelligible(jobId, toHoldfastError(error));
        return;
      }
      this.#listener.onJob(job);
    } else if (kind?.$case === 'cancel') {
      this.#listener.onCancel(kind.value.jobId);
    } else if (kind?.$case === 'received') {
      this.#listener.onReceived(kind.value.jobId);
    } else if (kind?.$case === 'failover') {
      this.#understood(() => {
        const { application, message: word } = failoverFromWire(kind.value);
        this.#listener.onFailover(application, word);
      });
    } else if (kind?.$case === 'applications') {
      this.#applications(kind.value);
    } else {
      this.#deps.log.warn('control.message-not-understood', { kind: kind?.$case ?? 'none' });
    }
  }

  /** C4. */
  #understood(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#deps.log.warn('control.failover-not-understood', { error: toHoldfastError(error).message });
    }
  }

  #applications({ applications, removed }: ApplicationList): void {
    const specs: ApplicationSpec[] = [];
    for (const wire of applications) this.#understood(() => void specs.push(applicationFromWire(wire)));
    this.#listener.onApplications(specs, removed);
  }

  #sources(wire: Parameters<typeof sourceFromWire>[0][]): void {
    const sources: SourceSpec[] = [];
    for (const source of wire) {
      try {
        sources.push(sourceFromWire(source));
      } catch (error) {
        const note = toHoldfastError(error).message;
        this.#deps.log.warn('control.source-not-understood', { sourceId: source.sourceId, error: note });
        this.report({ sourceId: source.sourceId, watching: 'off', note });
      }
    }
    this.#listener.onSources(sources);
  }

  #welcomed(welcome: Welcome): void {
    this.#welcomedAtMs = this.#deps.clock.monotonicMs();
    this.#beat(Math.max(MIN_HEARTBEAT_MS, welcome.heartbeatMs));
    this.#resend();
    for (const report of this.#deps.sourceReports()) this.report(report);
    this.#listener.onWelcome({ hostId: welcome.hostId, renew: welcome.renew });
  }

  #beat(everyMs: number): void {
    const uptimeMs = this.#deps.clock.monotonicMs();
    if (this.#unsent < MAX_UNSENT) this.#send(heartbeatMessage(uptimeMs, this.#deps.memoryBytes()));
    this.#after(everyMs, () => this.#beat(everyMs));
  }

  #resend(): void {
    for (const { jobId, outcome } of this.#deps.pendingResults()) this.#send(finishedMessage(jobId, outcome));
    this.#after(RESEND_MS, () => this.#resend());
  }

  #pauseProgress(jobId: string): void {
    const thinned: Thinned = { latest: undefined, timer: undefined };
    this.#progress.set(jobId, thinned);
    thinned.timer = this.#after(PROGRESS_EVERY_MS, () => {
      this.#progress.delete(jobId);
      if (thinned.latest !== undefined) this.progress(jobId, thinned.latest);
    });
  }

  #send(message: AgentMessage): void {
    this.#unsent++;
    const left = (): void => void this.#unsent--;
    // What is lost with the stream is sent again on the next one, or of no use by then.
    this.#stream.write(message).then(left, left);
  }

  #after(delayMs: number, action: () => void): Timer {
    const timer = this.#deps.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      if (!this.#over) action();
    });
    this.#timers.add(timer);
    return timer;
  }

  #abandon(error: HoldfastError | undefined): void {
    this.#finish(error);
    this.#stream.cancel();
  }

  #finish(error: HoldfastError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    const now = this.#deps.clock.monotonicMs();
    const connectedForMs = this.#welcomedAtMs === undefined ? 0 : now - this.#welcomedAtMs;
    this.#resolveEnded({ error, connectedForMs });
  }
}
