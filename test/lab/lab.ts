// The lab: real hosts in namespaces of one machine, joined by a cable that can be cut, with the servers and the fleet of a small shop on them.
//
// Hazard: a test bed that leaves something behind, or reaches out. All of a lab is below its directory, in network namespaces named after it
// and in processes in those, and they have no way to the machine's own network.
//
// Invariants (lab.test.ts):
//   L1 a link that is cut one way still carries the other;
//   L2 killing a host ends everything in it at once, and nothing is said to anybody;
//   L3 `down` leaves no process and no namespace, whatever became of those who made them.

import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, realpathSync, rmSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { builtPrograms } from '../fleet/built.ts';
import { AGENT_NODE_FLAGS } from '../fleet/members.ts';
import { run, type CommandResult } from './command.ts';
import { delayHost } from './delay.ts';
import { Host } from './host.ts';
import { prepareDisk } from './host-disk.ts';
import { OVERLAYS } from './init-script.ts';
import { knownId, labLayout, rememberId, type LabLayout } from './layout.ts';
import { machine, MACHINES } from './machines.ts';
import { cutOff, healed, lose, makeWire, removeNamespaces, type Direction } from './network.ts';
import { whyNoLab } from './requirements.ts';
import { prepareNameServer } from './name-server.ts';

/** Instead of a host's name: every other host. */
export const EVERYBODY = 'all';

export interface LinkOptions {
  /** Only what the first sends to the second. */
  readonly oneWay?: boolean;
}

export class Lab {
  readonly dir: string;
  readonly layout: LabLayout;
  readonly #hosts = new Map<string, Host>();

  private constructor(dir: string, id: string) {
    this.dir = dir;
    this.layout = labLayout(dir, id);
    for (const { name } of MACHINES) this.#hosts.set(name, new Host(this.layout, name));
  }

  /** The lab that is in this directory already. */
  static open(dir: string): Lab {
    const id = knownId(dir);
    if (id === undefined) throw new Error(`there is no lab in ${dir}: bring one up first`);
    return new Lab(dir, id);
  }

  /**
   * The cable and booted hosts, with nothing set up on them; hosts that were there go on with their disks.
   * @param dir absolute; made when missing
   */
  static async boot(dir: string): Promise<Lab> {
    const why = whyNoLab();
    if (why !== undefined) throw new Error(why);
    if (!isAbsolute(dir)) throw new Error(`${dir} is not absolute`);
    mkdirSync(dir, { recursive: true });
    chmodSync(dir, 0o711); // servers run as accounts of their own, and pass through
    const real = realpathSync(dir);
    if (OVERLAYS.some((path) => real.startsWith(`${path}/`))) {
      throw new Error(`a lab can't be below ${OVERLAYS.join(', ')}: its hosts have these as overlays`);
    }
    const id = knownId(real) ?? randomBytes(3).toString('hex');
    rememberId(real, id);
    const lab = new Lab(real, id);
    await lab.#bootAll();
    return lab;
  }

  host(name: string): Host {
    machine(name);
    return this.#hosts.get(name)!;
  }

  get hosts(): readonly Host[] {
    return [...this.#hosts.values()];
  }

  /** Nothing passes between the two, or from the first to the second. Either may be EVERYBODY. */
  async cut(from: string, to: string, options: LinkOptions = {}): Promise<void> {
    await cutOff(this.layout, directions(from, to, options));
  }

  async heal(from: string, to: string, options: LinkOptions = {}): Promise<void> {
    await healed(this.layout, directions(from, to, options));
  }

  /** Each way; a round trip takes twice that. 0 ends it. */
  async delay(host: string, ms: number): Promise<void> {
    if (!(Number.isInteger(ms) && ms >= 0 && ms <= 60_000)) throw new Error('a delay is 0 to 60000 ms');
    await delayHost(this.layout, machine(host).name, ms);
  }

  /** This share of what the host sends and is sent gets lost. 0 ends it. */
  async drop(host: string, percent: number): Promise<void> {
    if (!(percent >= 0 && percent <= 100)) throw new Error('a loss is 0 to 100 percent');
    await lose(this.layout, machine(host).name, percent);
  }

  /** The operator's command line. Never throws for a command that fails: look at `code`. */
  async holdfast(words: readonly string[]): Promise<CommandResult> {
    const { binDir, contextFile } = this.layout;
    return await run(join(binDir, 'holdfast'), words, '', { HOLDFAST_CONTEXT: contextFile });
  }

  /** The document that a command of the operator's prints with --json; throws when the command fails. */
  async json<T>(...words: readonly string[]): Promise<T> {
    const { code, stdout, stderr } = await this.holdfast([...words, '--json']);
    if (code !== 0) throw new Error(`holdfast ${words.join(' ')} ended with ${code}: ${(stderr || stdout).trim()}`);
    return JSON.parse(stdout) as T;
  }

  /** Ends every process and removes every namespace of the lab. The hosts' disks stay, and `up` goes on with them. */
  async down(): Promise<string[]> {
    const removed = await removeNamespaces(this.layout);
    rmSync(`${this.dir}/run`, { recursive: true, force: true });
    return removed;
  }

  async #bootAll(): Promise<void> {
    const built = builtPrograms();
    const shop = fileURLToPath(siblingModule(import.meta.url, './shop/shop'));
    await makeWire(this.layout);
    for (const host of this.hosts) {
      prepareDisk(this.layout, host.machine, { ...built, agentFlags: AGENT_NODE_FLAGS, shop });
    }
    prepareNameServer(this.layout);
    await Promise.all(this.hosts.map(async (host) => await host.start()));
  }
}

function directions(from: string, to: string, { oneWay = false }: LinkOptions): Direction[] {
  const named = (name: string): string[] =>
    name === EVERYBODY ? MACHINES.map((known) => known.name) : [machine(name).name];
  const there = named(from).flatMap((left) =>
    named(to).flatMap((right) => (left === right ? [] : [[left, right] as const])),
  );
  return oneWay ? there : [...there, ...there.map(([left, right]) => [right, left] as const)];
}
