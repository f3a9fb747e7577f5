// The agent, put together: identity, control link, jobs, standing protection, certificate renewal.
//
// What a resting agent does not need is loaded when it is needed: the pipelines with the first job, the watcher with the
// first continuous source, the certificate library with a renewal.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ServiceCommands } from '@holdfast/shared/recovery/step-types';
import type { Channel } from '@holdfast/shared/rpc/calls';
import { openChannel, WORK_KEEPALIVE, type ChannelTarget } from '@holdfast/shared/rpc/channel';
import { collectLessOften, FRUGAL_PACE } from '@holdfast/shared/runtime/collections';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { sleep } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { newJobRunner, type JobRunner } from './jobs/job-runner.ts';
import { outcomeOfError } from './jobs/outcome.ts';
import { openResultStore } from './jobs/result-store.ts';
import { startControlLink, type ControlLink } from './link/control-link.ts';
import { loadIdentity, prepareStateDir, type AgentIdentity } from './link/identity.ts';
import { keepCertificateFresh, type CertificateKeeper } from './link/renewal.ts';
import { newVaultClient } from './link/vault-client.ts';
import type { VaultClient } from './link/vault-port.ts';
import { lockFile } from './os/file-lock.ts';
import { giveBackMemory, limitArenas } from './os/memory.ts';
import { lazyServing, type LazyServing } from './recovery/failover/lazy-serving.ts';
import type { PeerSettings } from './recovery/failover/peer-addresses.ts';
import type { Sandboxes } from './recovery/sandbox/sandbox.ts';
import { lazySandboxes, sandboxPipeline } from './recovery/sandbox/sandbox-jobs.ts';
import { stepPipeline } from './recovery/steps/step-jobs.ts';
import { planRestores } from './recovery/warm/plan-restores.ts';
import { lazyWarmDatabases, type LazyWarmDatabases } from './recovery/warm/warm-jobs.ts';
import { heldTypes } from './sources/held-elsewhere.ts';
import { pipelinesOf, type EngineRegistry } from './sources/registry.ts';
import { needsGuard, newSourceProtection, type SourceProtection } from './sources/source-protection.ts';
import { AGENT_VERSION } from './version.ts';

export interface AgentOptions {
  readonly stateDir: string;
  /** host:port, when it is not the one of the enrolment. */
  readonly controllerAddress: string | undefined;
  /** What this agent can protect. */
  readonly engines: EngineRegistry;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
  readonly keepalive?: NonNullable<ChannelTarget['keepalive']>;
  /** How this host's services are started, by name; systemd knows others. */
  readonly services?: Readonly<Record<string, ServiceCommands>>;
  /** Where other hosts' agents reach this one; absent: nowhere. */
  readonly peers?: PeerSettings;
}

export interface Agent {
  readonly identity: AgentIdentity;
  /** Cancels jobs, tells the controller, ends the stream; resolves within STOP_WITHIN_MS. */
  stop(): Promise<void>;
}

const STOP_WITHIN_MS = 5000;
const FAREWELL_MS = 1000;
const GIVE_BACK_MS = 1000;

/** Throws FAILED_PRECONDITION (not enrolled), BUSY (another agent has this state directory), DAMAGED. */
export function startAgent(options: AgentOptions): Agent {
  const { stateDir, clock, log } = options;
  prepareStateDir(stateDir);
  limitArenas();
  collectLessOften(FRUGAL_PACE);
  const lock = lockFile(join(stateDir, 'lock'));
  if (lock === undefined) {
    throw new HoldfastError('BUSY', `another agent runs with ${stateDir}`, {
      hint: 'Stop it first, or give this one its own --state.',
    });
  }
  const enrolled = loadIdentity(stateDir);
  if (enrolled === undefined) {
    lock.release();
    throw new HoldfastError('FAILED_PRECONDITION', `this host is not enrolled (${stateDir} has no identity)`, {
      hint: 'Make a token at the controller (holdfast host add NAME), then run here: holdfast-agent enrol TOKEN',
    });
  }
  const running = new RunningAgent(options, enrolled);
  log.info('agent.started', { version: AGENT_VERSION, hostId: enrolled.hostId, host: enrolled.hostName });
  const stop = async (): Promise<void> => {
    await Promise.race([running.stop(), sleep(clock, STOP_WITHIN_MS)]);
    lock.release();
    log.info('agent.stopped');
  };
  let stopped: Promise<void> | undefined;
  return { identity: enrolled, stop: () => (stopped ??= stop()) };
}

class RunningAgent {
  readonly #options: AgentOptions;
  readonly #jobs: JobRunner;
  readonly #link: ControlLink;
  readonly #certificate: CertificateKeeper;
  readonly #serving: LazyServing;
  readonly #sandboxes: Sandboxes;
  readonly #warm: LazyWarmDatabases;
  #identity: AgentIdentity;
  #protection: SourceProtection | undefined;

  constructor(options: AgentOptions, identity: AgentIdentity) {
    const { stateDir, clock, random, log, engines, services = {} } = options;
    this.#options = options;
    this.#identity = identity;
    const results = openResultStore(stateDir);
    const openOwnChannel = (): Channel => this.#openChannel();
    const vault = newVaultClient({ openChannel: () => this.#openChannel(WORK_KEEPALIVE), clock, random });
    const sandboxes = (this.#sandboxes = lazySandboxes({ clock, log, stateDir }));
    const pipelines = pipelinesOf(engines);
    const ownIdentity = (): AgentIdentity => this.#identity;
    const warmDeps = { stateDir, vault, clock, log, identity: ownIdentity };
    const warm = (this.#warm = lazyWarmDatabases({ ...warmDeps, report: (report) => this.#link.warm(report) }));
    const bootId = readBootId();
    this.#serving = lazyServing(
      {
        stateDir,
        bootId,
        clock,
        log,
        identity: () => this.#identity,
        peerListen: options.peers?.listen,
        toController: (application, message) => this.#link.failover(application, message),
        services,
        renewCertificate: () => this.#certificate.renewNow(),
      },
      options.peers,
    );
    this.#jobs = newJobRunner(
      {
        identity,
        vault,
        clock,
        log,
        stateDir,
        pipelines: {
          ...pipelines,
          restore: planRestores(pipelines.restore, { stateDir, sandboxes, database: warm.run }),
          step: stepPipeline({ clock, log, stateDir, serving: this.#serving, services, sandboxes }),
          sandbox: sandboxPipeline(sandboxes),
        },
        results,
        onIdle: () => this.#giveBackSoon(),
      },
      {
        onProgress: (jobId, progress) => this.#link.progress(jobId, progress),
        onFinished: (jobId, outcome) => this.#link.finished(jobId, outcome),
      },
    );
    const processId = randomUUID();
    this.#certificate = keepCertificateFresh({
      stateDir,
      clock,
      random,
      log,
      openChannel: openOwnChannel,
      identity: () => this.#identity,
      renewed: (fresh) => {
        this.#identity = fresh;
        this.#serving.certificateRenewed();
        this.#link.reconnect();
      },
    });
    this.#link = startControlLink(
      {
        openChannel: openOwnChannel,
        clock,
        random,
        log,
        hello: () => ({
          agentVersion: AGENT_VERSION,
          bootId,
          processId,
          runningJobs: this.#jobs.running(),
          peerAddresses: this.#serving.addresses(),
        }),
        memoryBytes: () => process.memoryUsage.rss(),
        pendingResults: () => results.pending(),
      },
      {
        onWelcome: ({ renew }) => (renew ? this.#certificate.renewNow() : undefined),
        onSources: (sources) => {
          const idle = !sources.some(needsGuard) && heldTypes(stateDir).length === 0;
          if (this.#protection === undefined && idle) return;
          this.#protection ??= this.#startProtection(vault);
          this.#protection.update(sources);
        },
        onJob: (job) => this.#jobs.take(job),
        onCancel: (jobId) => this.#jobs.cancel(jobId),
        onReceived: (jobId) => results.received(jobId),
        onFailover: (application, message) => this.#serving.heard(application, message),
        onApplications: (specs, removed) => this.#serving.update(specs, removed),
        onUnintelligible: (jobId, error) => this.#link.finished(jobId, outcomeOfError(error, false, 0, [])),
      },
    );
  }

  /** Not at once: the job's threads are still ending, and the next job may follow. */
  #giveBackSoon(): void {
    this.#options.clock.after(GIVE_BACK_MS, giveBackMemory, { background: true });
  }

  async stop(): Promise<void> {
    this.#certificate.stop();
    await Promise.all([
      this.#jobs.stop(),
      this.#protection?.stop(),
      this.#serving.stop(),
      this.#sandboxes.stop(),
      this.#warm.stop(),
    ]);
    await this.#link.stop(FAREWELL_MS);
  }

  #startProtection(vault: VaultClient): SourceProtection {
    const { clock, random, log, stateDir, engines } = this.#options;
    return newSourceProtection({
      registry: engines,
      identity: () => this.#identity,
      vault,
      clock,
      random,
      log,
      stateDir,
      runBackup: (job) => this.#jobs.runOwn(job),
      report: (report) => this.#link.report(report),
      forgetReport: (sourceId) => this.#link.forgetReport(sourceId),
    });
  }

  #openChannel(usual?: ChannelTarget['keepalive']): Channel {
    const { controllerAddress, keepalive = usual } = this.#options;
    const identity = this.#identity;
    return openChannel({
      address: controllerAddress ?? identity.controllerAddress,
      caCertificatePem: identity.caCertificatePem,
      clientCertificate: { chainPem: identity.certificateChainPem, keyPem: identity.tlsKeyPem },
      ...(keepalive === undefined ? {} : { keepalive }),
    });
  }
}

function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
