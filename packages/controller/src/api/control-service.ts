// The Control service: one stream per host, wire ⇄ fleet/control-hub.ts.
//
// Hazards: an agent that says nothing first, or says Hello twice; one whose results are huge. A message that no correct
// agent sends ends the stream.
//
// Invariants (fleet/control-hub.db.test.ts): nothing is answered before Hello; the host is who its certificate says; a verify
// is finished only when the controller has read the packs, too.

import { HoldfastError } from '@holdfast/shared/base/errors';
import {
  Job,
  JobOutcome,
  JobProgress,
  type AgentMessage,
  type ControllerMessage,
  type ControlServiceImplementation,
  type DeepPartial,
  type SourceReport as WireReport,
  type WarmReport as WireWarm,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { ApplicationList, FailoverMessage } from '@holdfast/shared/rpc/gen/holdfast/v1/failover';
import { LogStatus } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import { failoverFromWire, peers } from '@holdfast/shared/rpc/failover-wire';
import { positionFromWire, statusFromWire, statusToWire } from '@holdfast/shared/rpc/log-wire';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import type { ControlConnection, ControlHub, Hello, SourceReport, ToAgent } from '../fleet/control-hub.ts';
import type { Result } from '../fleet/jobs.ts';
import type { WarmReport } from '../recovery/warm/warm-rows.ts';
import { requireHost, type CallerContext, type HostCaller } from './caller.ts';
import { hostOf } from './enrolment-service.ts';

export interface ControlServiceDeps {
  readonly hub: ControlHub;
  /** The controller's own part of a verify: the outcome with what the scrub found. Other outcomes come back as they are. */
  readonly complete: (host: HostCaller, jobId: string, outcome: JobOutcome) => Promise<JobOutcome>;
  /** What a standby says of its copy of a database. */
  readonly warm: (host: HostCaller, report: WarmReport) => Promise<void>;
  readonly log: (event: string, details: Record<string, unknown>) => void;
}

const WARNINGS_MAX = 1_000;
/** Results of one host that are being taken at once: as many as it may run jobs, and a few that it says again. */
const FINISHING_MAX = 8;
const HELLO_TIMEOUT_MS = 10_000;

export function makeControlService(given: ControlServiceDeps): ControlServiceImplementation<CallerContext> {
  const deps = { ...given, complete: onceAtATime(given.complete) };
  return {
    async *connect(requests, context) {
      const host = requireHost(context);
      const incoming = requests[Symbol.asyncIterator]();
      const hello = await firstMessage(incoming);
      context.signal.throwIfAborted();
      const connection = await deps.hub.connect(
        {
          hostId: host.hostId,
          hostName: host.hostName,
          domainId: host.domainId,
          address: hostOf(context.peerAddress),
          certificateNotAfter: host.notAfter,
        },
        hello,
      );
      // The listener's end is the stream's end: closing the connection ends what goes out as well.
      let failure: unknown;
      listen(deps, host, connection, incoming)
        .catch((error: unknown) => (failure = error))
        .then(() => connection.close())
        .catch((error: unknown) => deps.log('control.close-failed', { host: host.hostName, error: String(error) }));
      try {
        for await (const message of connection.outgoing) yield toWire(message);
        if (failure !== undefined) throw failure;
      } finally {
        await connection.close();
      }
    },
  };
}

/** A host that says a result again, as it does after every new connection, waits for the scrub that is under way. */
function onceAtATime(complete: ControlServiceDeps['complete']): ControlServiceDeps['complete'] {
  const underWay = new Map<string, Promise<JobOutcome>>();
  return (host, jobId, outcome) => {
    const key = `${host.hostId} ${jobId}`;
    const known = underWay.get(key);
    if (known !== undefined) return known;
    const started = complete(host, jobId, outcome).finally(() => underWay.delete(key));
    underWay.set(key, started);
    return started;
  };
}

async function firstMessage(incoming: AsyncIterator<AgentMessage>): Promise<Hello> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new HoldfastError('TIMED_OUT', 'the agent did not say hello')), HELLO_TIMEOUT_MS);
  });
  const first = await Promise.race([incoming.next(), late]).finally(() => clearTimeout(timer));
  const kind = first.done === true ? undefined : first.value.kind;
  if (kind?.$case !== 'hello') throw new HoldfastError('PROTOCOL_VIOLATION', 'the first message must be Hello');
  return {
    protocolMin: kind.value.protocolMin,
    protocolMax: kind.value.protocolMax,
    agentVersion: kind.value.agentVersion,
    processId: kind.value.processId,
    runningJobs: kind.value.runningJobs.slice(0, 1000),
    peerAddresses: peers(kind.value.peerAddresses),
  };
}

async function listen(
  deps: ControlServiceDeps,
  host: HostCaller,
  connection: ControlConnection,
  incoming: AsyncIterator<AgentMessage>,
): Promise<void> {
  const finishing = new Set<Promise<void>>();
  for (;;) {
    const next = await incoming.next();
    if (next.done === true) return;
    const { kind } = next.value;
    switch (kind?.$case) {
      case 'heartbeat':
        await connection.heartbeat();
        break;
      case 'progress':
        await connection.progress(kind.value.jobId, JobProgress.encode(kind.value).finish());
        break;
      case 'finished':
        // Not awaited: a scrub takes long, and heartbeats must go on meanwhile. But only so many, however many are sent.
        if (finishing.size >= FINISHING_MAX) await Promise.race(finishing);
        followFinish(finishing, finish(deps, host, connection, kind.value.jobId, kind.value.outcome), (error) =>
          deps.log('job.finish-failed', { job: kind.value.jobId, host: host.hostName, error: String(error) }),
        );
        break;
      case 'source':
        await connection.sourceReport(sourceReportOf(kind.value));
        break;
      case 'failover': {
        const { application, message } = failoverFromWire(kind.value);
        connection.failover(application, message);
        break;
      }
      case 'warm':
        await deps.warm(host, warmReportOf(kind.value));
        break;
      case 'hello':
        throw new HoldfastError('PROTOCOL_VIOLATION', 'Hello came twice');
      case undefined:
        // A newer agent's kind of message: not for us.
        break;
    }
  }
}

function warmReportOf({ application, sourceId, state, replayed, completeToMs, note }: WireWarm): WarmReport {
  const position = replayed === undefined ? undefined : positionFromWire(replayed);
  return { application, sourceId, state, replayed: position, completeToMs: Number(completeToMs), note };
}

/** Throws PROTOCOL_VIOLATION for a status that no correct agent sends. */
function sourceReportOf({ sourceId, watching, note, log }: WireReport): SourceReport {
  const logStatus = log === undefined ? undefined : LogStatus.encode(statusToWire(statusFromWire(log))).finish();
  return { sourceId, watching, note, logStatus };
}

function followFinish(running: Set<Promise<void>>, work: Promise<void>, failed: (error: unknown) => void): void {
  const followed = work.catch(failed).finally(() => running.delete(followed));
  running.add(followed);
}

async function finish(
  deps: ControlServiceDeps,
  host: HostCaller,
  connection: ControlConnection,
  jobId: string,
  reported: JobOutcome | undefined,
): Promise<void> {
  const outcome = JobOutcome.fromPartial({ ...reported, warnings: reported?.warnings.slice(0, WARNINGS_MAX) ?? [] });
  const completed = await deps.complete(host, jobId, outcome);
  await connection.finished(jobId, toResult(completed));
}

/** A job's result as its row keeps it. */
export function toResult(outcome: JobOutcome): Result {
  const states = { done: 'done', warnings: 'warnings', cancelled: 'cancelled' } as const;
  const state = Object.hasOwn(states, outcome.result) ? states[outcome.result as keyof typeof states] : 'failed';
  return { state, outcome: JobOutcome.encode(outcome).finish(), errorMessage: outcome.errorMessage };
}

function toWire(message: ToAgent): DeepPartial<ControllerMessage> {
  switch (message.kind) {
    case 'welcome':
      return {
        kind: {
          $case: 'welcome',
          value: { protocol: message.protocol, heartbeatMs: message.heartbeatMs, renew: message.renew },
        },
      };
    case 'sources':
      return { kind: { $case: 'sources', value: { sources: message.specs.map((spec) => SourceSpec.decode(spec)) } } };
    case 'job':
      return { kind: { $case: 'job', value: Job.decode(message.request) } };
    case 'failover':
      return { kind: { $case: 'failover', value: FailoverMessage.decode(message.message) } };
    case 'applications':
      return { kind: { $case: 'applications', value: ApplicationList.decode(message.list) } };
    case 'cancel':
      return { kind: { $case: 'cancel', value: { jobId: message.jobId } } };
    default:
      return { kind: { $case: 'received', value: { jobId: message.jobId } } };
  }
}
