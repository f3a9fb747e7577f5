// The control streams of this replica's hosts: who is connected, what they are told, what they say.
//
// Hazards: a host that reconnects before its dead stream was noticed (the new stream takes the old one's place); two
// machines with one identity (threat 21: a process that was replaced and comes back proves it); a reader that doesn't read
// (its outbox is bounded, and overflowing ends its stream).
//
// Invariants (control-hub.db.test.ts):
//   CH1 a host has one stream; a newer one ends the older, at whatever replica;
//   CH2 a job is sent once per stream, and again only as jobs.ts allows (JB4);
//   CH3 a process that comes back after another one took its place is refused, and the host is marked as cloned;
//   CH4 nothing a host says touches another host's rows.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';

import type { Catalog } from '../catalog/catalog.ts';
import type { FleetEvent, FleetEvents } from './fleet-events.ts';
import {
  acknowledgeJob,
  failExpired,
  failForgotten,
  finishJob,
  jobsToCancel,
  renewLeases,
  requeueUnheard,
  takeJobs,
  type Job,
  type Result,
} from './jobs.ts';
import type { JobNewsDesk } from './job-news.ts';
import { makeOutbox, type Outbox } from './outbox.ts';
import { reportWatching, sourcesOfHost } from './sources.ts';

/** Versions of the control protocol that this program speaks. */
export const PROTOCOL = { min: 1, max: 1 } as const;
export const HEARTBEAT_MS = 10_000;
/** The certificate is renewed when less than this of its life is left. */
const RENEW_BEFORE_MS = 10 * 86_400_000;
/** After Hello an agent reports what it finished while it was away; what is still unknown then was lost. */
const FORGOTTEN_AFTER_MS = 10_000;
const SWEEP_MS = 30_000;
const OUTBOX_MAX = 256;

export type ToAgent =
  | { readonly kind: 'welcome'; readonly protocol: number; readonly heartbeatMs: number; readonly renew: boolean }
  /** SourceSpecs of the wire. */
  | { readonly kind: 'sources'; readonly specs: readonly Buffer[] }
  /** Job of the wire. */
  | { readonly kind: 'job'; readonly request: Buffer }
  | { readonly kind: 'cancel'; readonly jobId: string }
  | { readonly kind: 'received'; readonly jobId: string }
  /** FailoverMessage of the wire. */
  | { readonly kind: 'failover'; readonly message: Buffer }
  /** ApplicationList of the wire. */
  | { readonly kind: 'applications'; readonly list: Buffer };

export interface Hello {
  readonly protocolMin: number;
  readonly protocolMax: number;
  readonly agentVersion: string;
  readonly processId: string;
  readonly runningJobs: readonly string[];
  /** host:port where this host's agent answers peers. */
  readonly peerAddresses: readonly string[];
}

/** Who serves, as the streams need it (recovery/failover/failover-link.ts). */
export interface FailoverDesk {
  /** ApplicationList of the wire. */
  applications(hostId: string): Promise<Buffer>;
  heard(hostId: string, application: string, message: FailoverMessage): void;
}

export interface ConnectedHost {
  readonly hostId: string;
  readonly hostName: string;
  readonly domainId: string;
  readonly address: string;
  readonly certificateNotAfter: Date;
}

export interface SourceReport {
  readonly sourceId: string;
  readonly watching: string;
  readonly note: string;
  /** LogStatus of the wire; undefined for a source that keeps no log. */
  readonly logStatus: Uint8Array | undefined;
}

/** One open control stream. */
export interface ControlConnection {
  readonly outgoing: AsyncIterable<ToAgent>;
  heartbeat(): Promise<void>;
  progress(jobId: string, progress: Uint8Array): Promise<void>;
  finished(jobId: string, result: Result): Promise<void>;
  sourceReport(report: SourceReport): Promise<void>;
  /** What the host says about who serves. */
  failover(application: string, message: FailoverMessage): void;
  close(): Promise<void>;
}

export interface ControlHub {
  /** Throws UNSUPPORTED_VERSION, FAILED_PRECONDITION (a clone). */
  connect(host: ConnectedHost, hello: Hello): Promise<ControlConnection>;
  /** False when the host has no stream here. */
  sendFailover(hostId: string, message: Buffer): boolean;
  /** Each of these hosts that has a stream here gets its applications, if they are not what it got last. */
  tellApplications(hostIds: readonly string[]): void;
  /** From now on hosts are told their applications. */
  attach(desk: FailoverDesk): void;
  /** Hosts connected to this replica. */
  count(): number;
  /** Ends every stream. */
  stop(): Promise<void>;
}

export interface ControlHubDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly news: JobNewsDesk;
  readonly log: (event: string, details: Record<string, unknown>) => void;
  /** What a step's row must not hold: the job as it is sent, with its secrets. Throws when it can't be sent any more. */
  readonly completeStep: (job: Job) => Promise<Buffer>;
}

interface Live {
  readonly host: ConnectedHost;
  readonly connectionId: string;
  readonly outbox: Outbox<ToAgent>;
  readonly runningJobs: readonly string[];
  readonly since: Date;
  readonly acknowledged: Set<string>;
  readonly cancelled: Set<string>;
  /** The list that it was told last. */
  applications: Buffer;
  /** Dispatches run one after the other. */
  dispatching: Promise<void>;
}

export function openControlHub(deps: ControlHubDeps): ControlHub {
  const live = new Map<string, Live>();
  let desk: FailoverDesk | undefined;
  const tellApplications = async (connection: Live): Promise<void> => {
    const list = await desk?.applications(connection.host.hostId);
    if (list === undefined || list.equals(connection.applications)) return;
    connection.applications = list;
    connection.outbox.put({ kind: 'applications', list });
  };
  const dispatchTo = (connection: Live, work: () => Promise<void>): void => {
    connection.dispatching = connection.dispatching.then(work).catch((error: unknown) => {
      deps.log('control.dispatch-failed', { host: connection.host.hostName, error: String(error) });
    });
  };
  const unsubscribe = deps.events.subscribe((event) => onEvent(deps, live, dispatchTo, event));
  // Notifications can be lost, and hosts can vanish: look at the rows now and then.
  const sweep = setInterval(() => {
    for (const connection of live.values()) dispatchTo(connection, () => dispatch(deps, connection));
    failExpired(deps.catalog.pool).then(
      (ids) => tellJobs(deps, ids),
      () => undefined,
    );
  }, SWEEP_MS);
  sweep.unref();

  return {
    async connect(host, hello) {
      const protocol = agreeProtocol(hello);
      const connection = await takePlace(deps, host, hello);
      live.get(host.hostId)?.outbox.end(replacedError());
      live.set(host.hostId, connection);
      deps.log('control.connected', { host: host.hostName, agent: hello.agentVersion });
      const renew = host.certificateNotAfter.getTime() - Date.now() < RENEW_BEFORE_MS;
      connection.outbox.put({ kind: 'welcome', protocol, heartbeatMs: HEARTBEAT_MS, renew });
      dispatchTo(connection, async () => {
        await sendSources(deps, connection);
        await tellApplications(connection);
        await requeueUnheard(deps.catalog.pool, host.hostId, hello.runningJobs);
        await dispatch(deps, connection);
      });
      const forgotten = setTimeout(() => {
        dispatchTo(connection, async () => {
          const known = [...connection.runningJobs, ...connection.acknowledged];
          await tellJobs(deps, await failForgotten(deps.catalog.pool, host.hostId, known, connection.since));
        });
      }, FORGOTTEN_AFTER_MS);
      forgotten.unref();
      return openConnection(
        deps,
        connection,
        async () => {
          clearTimeout(forgotten);
          if (live.get(host.hostId) === connection) live.delete(host.hostId);
          await leavePlace(deps, connection);
        },
        dispatchTo,
        (application, message) => desk?.heard(host.hostId, application, message),
      );
    },
    count: () => live.size,
    sendFailover: (hostId, message) => live.get(hostId)?.outbox.put({ kind: 'failover', message }) === true,
    tellApplications(hostIds) {
      for (const hostId of new Set(hostIds)) {
        const connection = live.get(hostId);
        if (connection !== undefined) dispatchTo(connection, () => tellApplications(connection));
      }
    },
    attach(attached) {
      desk = attached;
      for (const connection of live.values()) dispatchTo(connection, () => tellApplications(connection));
    },
    async stop() {
      unsubscribe();
      clearInterval(sweep);
      const ended = [...live.values()];
      live.clear();
      for (const connection of ended) connection.outbox.end();
      await Promise.all(ended.map((connection) => connection.dispatching));
      await Promise.all(ended.map((connection) => leavePlace(deps, connection)));
    },
  };
}

function agreeProtocol(hello: Hello): number {
  const protocol = Math.min(hello.protocolMax, PROTOCOL.max);
  if (protocol >= Math.max(hello.protocolMin, PROTOCOL.min)) return protocol;
  const agent = `${hello.protocolMin}–${hello.protocolMax}`;
  throw new HoldfastError(
    'UNSUPPORTED_VERSION',
    `the agent speaks protocol ${agent}, this controller ${PROTOCOL.min}–${PROTOCOL.max}`,
    { hint: hello.protocolMax < PROTOCOL.min ? 'Update the agent.' : 'Update the controller.' },
  );
}

/** Writes the stream into the host's row, and ends an older one elsewhere (CH1, CH3). */
async function takePlace(deps: ControlHubDeps, host: ConnectedHost, hello: Hello): Promise<Live> {
  const connectionId = randomUUID();
  const since = await deps.catalog.transaction(async (client) => {
    const { rows } = await client.query<{ process_id: string; previous_process_id: string; now: Date }>(
      'select process_id, previous_process_id, now() from host where id = $1 for update',
      [host.hostId],
    );
    const row = rows[0];
    if (row === undefined) throw new HoldfastError('NOT_FOUND', 'this host is not known any more');
    if (hello.processId !== '' && row.previous_process_id === hello.processId) {
      return undefined;
    }
    await client.query(
      `update host set connection_id = $2, last_seen_at = now(), agent_version = $3, address = $4, process_id = $5, peer_addresses = $6,
         previous_process_id = case when process_id = $5 then previous_process_id else process_id end where id = $1`,
      [
        host.hostId,
        connectionId,
        hello.agentVersion.slice(0, 100),
        host.address,
        hello.processId.slice(0, 100),
        hello.peerAddresses,
      ],
    );
    await deps.events.tell(client, { kind: 'connected', hostId: host.hostId, connectionId });
    return row.now;
  });
  if (since === undefined) {
    await deps.catalog.pool.query('update host set cloned_at = now() where id = $1', [host.hostId]);
    throw new HoldfastError('FAILED_PRECONDITION', `two machines use the identity of ${host.hostName}`, {
      hint: 'One is a copy of the other. Enrol one of them anew: holdfast host add NAME --replace',
    });
  }
  return {
    host,
    connectionId,
    since,
    outbox: makeOutbox(OUTBOX_MAX, () => new HoldfastError('LIMIT_EXCEEDED', 'the agent does not read its messages')),
    runningJobs: hello.runningJobs,
    acknowledged: new Set(),
    cancelled: new Set(),
    applications: Buffer.alloc(0),
    dispatching: Promise.resolve(),
  };
}

async function leavePlace(deps: ControlHubDeps, connection: Live): Promise<void> {
  const { hostId, hostName } = connection.host;
  await deps.catalog.pool
    .query(`update host set connection_id = '' where id = $1 and connection_id = $2`, [hostId, connection.connectionId])
    .catch((error: unknown) => deps.log('control.leave-failed', { host: hostName, error: String(error) }));
}

function openConnection(
  deps: ControlHubDeps,
  connection: Live,
  leave: () => Promise<void>,
  dispatchTo: (connection: Live, work: () => Promise<void>) => void,
  heard: ControlConnection['failover'],
): ControlConnection {
  const { pool } = deps.catalog;
  const { hostId } = connection.host;
  return {
    outgoing: connection.outbox,
    async heartbeat() {
      await pool.query('update host set last_seen_at = now() where id = $1 and connection_id = $2', [
        hostId,
        connection.connectionId,
      ]);
      await renewLeases(pool, hostId);
    },
    async progress(jobId, progress) {
      if (!connection.acknowledged.has(jobId)) {
        const { rowCount } = await pool.query('select 1 from job where id = $1 and host_id = $2', [jobId, hostId]);
        if (rowCount === 0) return;
        connection.acknowledged.add(jobId);
        await acknowledgeJob(pool, jobId, hostId);
      }
      deps.news.progress(jobId, progress);
    },
    async finished(jobId, result) {
      const recorded = await finishJob(pool, jobId, hostId, result);
      if (recorded) {
        deps.log('job.finished', { job: jobId, host: connection.host.hostName, state: result.state });
        await tellJobs(deps, [jobId]);
        dispatchTo(connection, () => dispatch(deps, connection));
      }
      connection.outbox.put({ kind: 'received', jobId });
    },
    sourceReport: (report) => reportWatching(pool, { hostId, ...report }),
    failover: heard,
    async close() {
      connection.outbox.end();
      await connection.dispatching;
      await leave();
    },
  };
}

function onEvent(
  deps: ControlHubDeps,
  live: Map<string, Live>,
  dispatchTo: (connection: Live, work: () => Promise<void>) => void,
  event: FleetEvent,
): void {
  if (event.kind !== 'jobs' && event.kind !== 'sources' && event.kind !== 'connected') return;
  const connection = live.get(event.hostId);
  if (connection === undefined) return;
  if (event.kind === 'sources') dispatchTo(connection, () => sendSources(deps, connection));
  else if (event.kind === 'jobs') dispatchTo(connection, () => dispatch(deps, connection));
  else if (event.connectionId !== connection.connectionId) connection.outbox.end(replacedError());
}

function replacedError(): HoldfastError {
  return new HoldfastError('SESSION_ENDED', 'another control stream of this host took the place of this one');
}

async function dispatch(deps: ControlHubDeps, connection: Live): Promise<void> {
  const { hostId, hostName } = connection.host;
  const jobs = await deps.catalog.transaction((client) => takeJobs(client, hostId));
  for (const job of jobs) {
    const request = job.kind === 'step' ? await completeStep(deps, job) : job.request;
    if (request === undefined) continue;
    deps.log('job.sent', { job: job.id, kind: job.kind, host: hostName });
    connection.outbox.put({ kind: 'job', request });
  }
  await tellJobs(
    deps,
    jobs.map((job) => job.id),
  );
  for (const jobId of await jobsToCancel(deps.catalog.pool, hostId)) {
    if (connection.cancelled.has(jobId)) continue;
    connection.cancelled.add(jobId);
    connection.outbox.put({ kind: 'cancel', jobId });
  }
}

/** Undefined: it can't be sent, and has failed. */
async function completeStep(deps: ControlHubDeps, job: Job): Promise<Buffer | undefined> {
  try {
    return await deps.completeStep(job);
  } catch (error) {
    const errorMessage = error instanceof Error ? error.message : String(error);
    await finishJob(deps.catalog.pool, job.id, job.hostId, { state: 'failed', outcome: null, errorMessage });
    return undefined;
  }
}

async function sendSources(deps: ControlHubDeps, connection: Live): Promise<void> {
  const sources = await sourcesOfHost(deps.catalog.pool, connection.host.hostId);
  connection.outbox.put({ kind: 'sources', specs: sources.map((source) => source.spec) });
}

async function tellJobs(deps: ControlHubDeps, jobIds: readonly string[]): Promise<void> {
  for (const jobId of jobIds) await deps.events.tell(deps.catalog.pool, { kind: 'job', jobId });
}
