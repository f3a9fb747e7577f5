// Who serves, on this host: its applications, their ticks, and what comes from the controller, from other agents and from a person here.
//
// Hazards: a host that was told of an application must go on with it when the controller is gone, and after a restart; a list that lacks
// one is no word that it was removed. So each is kept on disk, and forgotten only by name.
//
// Invariants (agent-failover.test.ts): AF1 an application goes on from disk without a controller; AF2 only an application's other host is
// heard about it; AF3 an agent without applications listens on no port and has no timer.

import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import { decodeServices } from '@holdfast/shared/recovery/host-step';
import { canonicalAddress } from '@holdfast/shared/recovery/service-address';
import type { ServiceCommands } from '@holdfast/shared/recovery/step-types';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import { peerOf } from '@holdfast/shared/rpc/peer-name';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { AgentIdentity } from '../../link/identity.ts';
import { bootClockMs } from '../../os/boot-clock.ts';
import { addressAnswers } from '../../os/neighbours.ts';
import type { Services, Serving } from '../contract.ts';
import { ApplicationHost } from './application-host.ts';
import type { ApplicationPorts } from './application-ports.ts';
import { FenceScript } from './fence-script.ts';
import { FORCE_FILE } from './force-serving.ts';
import { openKernelGate, probeKernelGate } from './kernel-gate.ts';
import { newPeerLinks, type PeerLinks, type PeerTarget } from '../../link/peer-links.ts';
import { startPeerServer, type PeerServer } from '../../link/peer-server.ts';
import { ProtectedUnits } from './protected-units.ts';
import { knownApplications, RecordFiles } from './record-file.ts';
import { dropAddresses, holdAddresses } from './service-addresses.ts';
import { askForWitness } from './witness.ts';

export interface AgentFailoverDeps {
  readonly stateDir: string;
  readonly identity: () => AgentIdentity;
  readonly bootId: string;
  readonly clock: Clock;
  readonly log: Log;
  /** host:port; undefined: no other agent gets an answer. */
  readonly peerListen: string | undefined;
  readonly toController: (application: string, message: FailoverMessage) => void;
  readonly servicesFor: (planServices: Readonly<Record<string, ServiceCommands>>) => Services;
  /** A certificate that names this host to its peers is wanted. */
  readonly renewCertificate: () => void;
}

export interface AgentFailover extends Serving {
  /** Service addresses: they move, and are no way to reach this host. */
  movingAddresses(): ReadonlySet<string>;
  update(specs: readonly ApplicationSpec[], removed: readonly string[]): Promise<void>;
  /** From the controller. */
  heard(application: string, message: FailoverMessage): void;
  certificateRenewed(): void;
  stop(): Promise<void>;
}

const TICK_MS = 250;
const IDLE_TICK_MS = 1000;
const WITNESS_MAX = 16;
const LISTEN_AGAIN_MS = 10_000;
const NEIGHBOUR_WITHIN_MS = 3000;
const FAREWELL_MAX_MS = 2500;

/** With the applications that are on disk. */
export async function startAgentFailover(deps: AgentFailoverDeps): Promise<AgentFailover> {
  const failover = new RunningAgentFailover(deps);
  await failover.start();
  return failover;
}

class RunningAgentFailover implements AgentFailover {
  readonly #deps: AgentFailoverDeps;
  readonly #applications = new Map<string, ApplicationHost>();
  readonly #scripts = new Map<string, FenceScript>();
  readonly #peers: PeerLinks;
  #server: PeerServer | undefined;
  #listenAtMs = 0;
  #listening = false;
  #witnessing = 0;
  #timer: { cancel(): void } | undefined;
  #updating: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: AgentFailoverDeps) {
    this.#deps = deps;
    this.#peers = newPeerLinks(deps.identity);
  }

  async start(): Promise<void> {
    const { stateDir } = this.#deps;
    for (const id of knownApplications(stateDir)) {
      await this.#guarded(id, async () => {
        const spec = new RecordFiles(stateDir, id).loadSpec();
        if (spec !== undefined) await this.#open(spec);
      });
    }
    this.#tick();
  }

  movingAddresses(): ReadonlySet<string> {
    const moving = [...this.#applications.values()].flatMap(({ spec }) => spec.addresses);
    return new Set(moving.map(({ ip }) => canonicalAddress(ip.split('/')[0] ?? '')));
  }

  update(specs: readonly ApplicationSpec[], removed: readonly string[]): Promise<void> {
    const before = this.#updating;
    const takeAll = async (): Promise<void> => {
      await before;
      for (const spec of specs) await this.#guarded(spec.id, () => this.#take(spec));
      for (const id of removed) await this.#guarded(id, () => this.#forget(id));
      this.#tick();
    };
    this.#updating = takeAll();
    return this.#updating;
  }

  heard(id: string, message: FailoverMessage): void {
    if (message.kind === 'probe') return void this.#witness(id, message);
    const application = this.#applications.get(id);
    if (application === undefined) return;
    if (message.kind === 'fence') return void this.#fence(id, application.spec, message);
    void application.take('controller', message);
  }

  async refuses(order: Parameters<Serving['refuses']>[0]): Promise<string | undefined> {
    return await this.#applications.get(order.application)?.refuses(order);
  }

  async stopServing(id: string, epoch: number): Promise<void> {
    await this.#of(id).stopServing(epoch);
  }

  async activated(id: string, epoch: number): Promise<void> {
    await this.#applications.get(id)?.activated(epoch);
  }

  certificateRenewed(): void {
    this.#server?.renewCertificate(this.#deps.identity());
    this.#peers.close();
  }

  async stop(): Promise<void> {
    await this.#updating;
    const standbys = [...this.#applications.values()].filter(
      ({ spec, phases }) => spec.mode === 'automatic' && phases.standby !== 'serving',
    );
    await Promise.all(standbys.map((application) => application.prepareStop()));
    const farewellMs = Math.max(0, ...standbys.map(({ spec }) => spec.renewMs));
    if (farewellMs > 0) await sleep(this.#deps.clock, Math.min(farewellMs, FAREWELL_MAX_MS));
    this.#stopped = true;
    this.#timer?.cancel();
    await Promise.all([...this.#applications.values()].map((application) => application.stop()));
    this.#server?.stop();
    this.#peers.close();
  }

  #of(id: string): ApplicationHost {
    const application = this.#applications.get(id);
    if (application === undefined)
      throw new HoldfastError('FAILED_PRECONDITION', 'this host knows no such application');
    return application;
  }

  /** One application's trouble is not another's. */
  async #guarded(application: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const { message, hint } = toHoldfastError(error);
      this.#deps.log.error('failover.refused', { application, error: message, hint });
    }
  }

  async #take(spec: ApplicationSpec): Promise<void> {
    const { hostId } = this.#deps.identity();
    if (spec.primaryHost !== hostId && spec.standbyHost !== hostId) return;
    const known = this.#applications.get(spec.id);
    if (known === undefined) await this.#open(spec);
    else await known.configure(spec);
  }

  async #open(spec: ApplicationSpec): Promise<void> {
    const ports = this.#portsOf(spec.id);
    const application = await ApplicationHost.open(ports, spec);
    ports.files.saveSpec(spec);
    this.#applications.set(spec.id, application);
    const { holder, standby } = application.phases;
    this.#deps.log.info('failover.application', { plan: spec.plan, mode: spec.mode, holder, standby });
  }

  async #forget(id: string): Promise<void> {
    const application = this.#applications.get(id);
    if (application === undefined) return;
    this.#applications.delete(id);
    await application.forget();
    this.#deps.log.info('failover.forgotten', { plan: application.spec.plan });
  }

  #portsOf(id: string): ApplicationPorts {
    const { stateDir, identity, bootId, clock, log, toController, servicesFor } = this.#deps;
    const note = (event: string, fields: Record<string, unknown>): void => log.warn(event, fields);
    return {
      host: identity().hostId,
      bootId,
      nowMs: bootClockMs,
      files: new RecordFiles(stateDir, id),
      gate: (spec) => openKernelGate(spec.id, spec),
      units: (spec) => new ProtectedUnits(spec.units, servicesFor(decodeServices(spec.services)), clock, note),
      addresses: {
        hold: (spec, forMs) => holdAddresses(spec.addresses, forMs),
        drop: (spec) => dropAddresses(spec.addresses),
        taken: (spec) => anyTaken(spec, clock),
      },
      kernelTrouble,
      toController: (message) => toController(id, message),
      toPeer: (message) => this.#toPeer(id, message),
      log: note,
    };
  }

  #toPeer(id: string, message: FailoverMessage): void {
    const application = this.#applications.get(id);
    if (application === undefined || this.#stopped) return;
    const target = this.#peerOf(application.spec);
    this.#peers.tell(target, id, message, (answers) => {
      for (const answer of answers) void application.take('peer', answer);
    });
  }

  #peerOf(spec: ApplicationSpec): PeerTarget {
    const { hostId } = this.#deps.identity();
    const other = spec.primaryHost === hostId ? spec.standbyHost : spec.primaryHost;
    return { hostId: other, addresses: spec.peerAddresses, withinMs: spec.renewMs };
  }

  /** AF2. */
  async #heardPeer(hostId: string, id: string, message: FailoverMessage): Promise<readonly FailoverMessage[]> {
    const application = this.#applications.get(id);
    if (application === undefined || this.#peerOf(application.spec).hostId !== hostId) {
      throw new HoldfastError('NOT_ALLOWED', 'this host is not the other one of that application');
    }
    return await application.take('peer', message);
  }

  async #witness(id: string, order: Extract<FailoverMessage, { kind: 'probe' }>): Promise<void> {
    if (this.#witnessing >= WITNESS_MAX || !('url' in order)) return;
    this.#witnessing += 1;
    try {
      this.#deps.toController(id, await askForWitness(this.#deps.identity().hostId, id, order, this.#peers));
    } finally {
      this.#witnessing -= 1;
    }
  }

  async #fence(id: string, spec: ApplicationSpec, order: Extract<FailoverMessage, { kind: 'fence' }>): Promise<void> {
    const script =
      this.#scripts.get(id) ??
      new FenceScript((event, fields) => this.#deps.log.warn(event, { plan: spec.plan, ...fields }));
    this.#scripts.set(id, script);
    const confirmed = await script.confirm(spec.fenceScript, order.host, order.attempt);
    this.#deps.toController(id, { kind: 'fence-result', attempt: order.attempt, confirmed });
  }

  /** AF3. */
  #tick(): void {
    this.#timer?.cancel();
    if (this.#stopped || this.#applications.size === 0) return;
    const { clock } = this.#deps;
    let everyMs = IDLE_TICK_MS;
    for (const application of this.#applications.values()) {
      application.tick();
      if (application.spec.mode === 'automatic') everyMs = Math.min(everyMs, TICK_MS, application.spec.renewMs / 4);
      this.#lookForForce(application);
    }
    void this.#listen();
    this.#timer = clock.after(everyMs, () => this.#tick(), { background: true });
  }

  async #listen(): Promise<void> {
    const { peerListen, identity, log, clock } = this.#deps;
    if (peerListen === undefined || this.#server !== undefined || this.#listening) return;
    if (clock.monotonicMs() < this.#listenAtMs) return;
    this.#listening = true;
    this.#listenAtMs = clock.monotonicMs() + LISTEN_AGAIN_MS;
    try {
      if (!namesPeer(identity())) return this.#deps.renewCertificate();
      this.#server = await startPeerServer({
        identity: identity(),
        listen: peerListen,
        log,
        heard: (hostId, id, message) => this.#heardPeer(hostId, id, message),
      });
      if (this.#stopped) this.#server.stop();
      log.info('peer.listening', { port: this.#server.port });
    } catch (error) {
      log.error('peer.not-listening', { listen: peerListen, error: toHoldfastError(error).message });
    } finally {
      this.#listening = false;
    }
  }

  /** A person's `holdfast-agent serve --force`. */
  #lookForForce(application: ApplicationHost): void {
    const path = join(new RecordFiles(this.#deps.stateDir, application.spec.id).directory, FORCE_FILE);
    if (!existsSync(path)) return;
    const at = readFileSync(path, 'utf8').trim().slice(0, 200);
    rmSync(path, { force: true });
    void this.#guarded(application.spec.id, () => application.force(at));
  }
}

function namesPeer({ certificateChainPem }: AgentIdentity): boolean {
  return peerOf(new X509Certificate(certificateChainPem).raw) !== undefined;
}

async function kernelTrouble(spec: ApplicationSpec): Promise<string | undefined> {
  if (spec.ports.length === 0) return 'the plan names no port: nothing would end the service of an agent that is dead';
  try {
    await probeKernelGate();
    return undefined;
  } catch (error) {
    const { message, hint } = toHoldfastError(error);
    return `its kernel can't be told to end the service: ${message} ${hint}`.trim();
  }
}

async function anyTaken({ addresses }: ApplicationSpec, clock: Clock): Promise<boolean> {
  for (const { ip, device } of addresses) {
    const [host = ''] = ip.split('/');
    if (await addressAnswers(device, host, NEIGHBOUR_WITHIN_MS, clock)) return true;
  }
  return false;
}
