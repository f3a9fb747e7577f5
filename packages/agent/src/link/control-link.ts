// The standing link to the controller: one control stream after another, for as long as the agent runs.
//
// Each stream has a connection of its own making, so that a certificate that was renewed, an address that moved or a
// connection that broke half-way takes effect with the next one.

import type { HoldfastError } from '@holdfast/shared/base/errors';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import type { Channel } from '@holdfast/shared/rpc/calls';
import { sleep } from '@holdfast/shared/runtime/clock';
import type { JobOutcome, JobProgress } from '../jobs/job.ts';
import {
  openControlStream,
  type ControlListener,
  type ControlStream,
  type ControlStreamDeps,
} from './control-stream.ts';
import type { SourceReport } from './control-wire.ts';
import { afterStreamEnd, NEVER_CONNECTED, type ReconnectDecision } from './reconnect.ts';
import type { WarmReport } from '../recovery/warm/warm-report.ts';

export interface ControlLinkDeps extends Omit<ControlStreamDeps, 'channel' | 'sourceReports'> {
  openChannel(): Channel;
  readonly random: () => number;
}

export interface ControlLink {
  progress(jobId: string, progress: JobProgress): void;
  finished(jobId: string, outcome: JobOutcome): void;
  /** Kept, and said again on every new stream. */
  report(report: SourceReport): void;
  /** Lost when there is no stream. */
  failover(application: string, message: FailoverMessage): void;
  forgetReport(sourceId: string): void;
  /** Lost while there is no stream: the newest is said again. */
  warm(report: WarmReport): void;
  /** Opens a new stream now, with a new connection. */
  reconnect(): void;
  /** Ends the stream in good order. Resolves within `withinMs`. */
  stop(withinMs: number): Promise<void>;
}

/** How long a stream that is replaced may take to end. */
const FAREWELL_MS = 1000;

export function startControlLink(deps: ControlLinkDeps, listener: ControlListener): ControlLink {
  const stopping = new AbortController();
  const reports = new Map<string, SourceReport>();
  let current: ControlStream | undefined;
  let replacing = false;

  const run = async (): Promise<void> => {
    let state = NEVER_CONNECTED;
    while (!stopping.signal.aborted) {
      const channel = deps.openChannel();
      current = openControlStream(
        { ...deps, channel, sourceReports: () => [...reports.values()] },
        { ...listener, onWelcome: welcomed },
      );
      const { error, connectedForMs } = await current.ended;
      current = undefined;
      channel.close();
      if (stopping.signal.aborted) return;
      if (replacing) {
        replacing = false;
        continue;
      }
      const decision = afterStreamEnd(state, { code: error?.code, connectedForMs }, deps.random());
      state = decision.state;
      logEnd(error, decision);
      await sleep(deps.clock, decision.waitMs, stopping.signal);
    }
  };
  const welcomed = (welcome: { readonly hostId: string; readonly renew: boolean }): void => {
    deps.log.info('control.connected');
    listener.onWelcome(welcome);
  };
  const logEnd = (error: HoldfastError | undefined, decision: ReconnectDecision): void => {
    const fields = {
      code: error?.code ?? '',
      error: error?.message ?? 'the controller ended the stream',
      retryInMs: decision.waitMs,
      failures: decision.state.failures,
    };
    if (decision.kind === 'lost') {
      deps.log.warn('control.disconnected', fields);
      return;
    }
    const hint =
      error?.code === 'UNSUPPORTED_VERSION'
        ? 'Agent and controller do not speak a common protocol: update the older of them.'
        : 'The controller does not accept this host any more. If that is not intended, enrol it again with a new token.';
    deps.log.error('control.refused', { ...fields, hint });
  };

  const running = run();
  return {
    progress: (jobId, progress) => current?.progress(jobId, progress),
    finished: (jobId, outcome) => current?.finished(jobId, outcome),
    report(report) {
      reports.set(report.sourceId, report);
      current?.report(report);
    },
    failover: (application, message) => current?.failover(application, message),
    warm: (report) => current?.warm(report),
    forgetReport: (sourceId) => void reports.delete(sourceId),
    reconnect() {
      if (current === undefined) return;
      replacing = true;
      current.close(FAREWELL_MS);
    },
    async stop(withinMs) {
      stopping.abort();
      current?.close(withinMs);
      await running;
    },
  };
}
