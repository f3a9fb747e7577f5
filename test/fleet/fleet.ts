// A disposable fleet: a controller and agents as separate processes over mTLS, with all their state below one directory.
// The demo, the end-to-end tests, the benches and newcomers stand on it.
//
// Hazard: a test bed that leaves processes behind, or ends somebody else's. Every process is recorded with its pid and start
// time as it starts, and only a process that still has both is ever signalled (processes.ts).
//
// Invariants (fleet.test.ts):
//   F1 `up` returns when every host is online; after `down`, or SIGKILL of everything, `up` goes on with the same state;
//   F2 `down` leaves no process, also when the fleet is half up or its controller died without its PostgreSQL.

import { execFile } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { builtPrograms, type BuiltPrograms } from './built.ts';
import {
  checkHostName,
  checkMember,
  freePort,
  isFree,
  readState,
  stateOf,
  writeState,
  type Fleet,
} from './fleet-state.ts';
import { CONTROLLER, layoutOf, type FleetLayout } from './layout.ts';
import {
  enrolAgent,
  isEnrolled,
  ownerCredentials,
  redirectAgent,
  postgresServers,
  startAgent,
  startController,
  withOperator,
} from './members.ts';
import { endProcess, forget, gone, recordedProcess, signal, type ProcessRecord } from './processes.ts';
import { MemberEnded, waitFor } from './readiness.ts';
import { writeShellFiles } from './shell.ts';

export type { Fleet };

export interface FleetOptions {
  /** Absolute directory; made when missing. */
  readonly dir: string;
  /** Hosts that must be online in the end; those that the fleet has already come back as well. */
  readonly hosts: readonly string[];
  /** Told what goes on, one line at a time. */
  readonly say?: (line: string) => void;
}

export interface FleetProcess {
  /** A host's name, or `controller`. */
  readonly name: string;
  /** Unset when it does not run. */
  readonly pid: number | undefined;
}

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const GRACE_MS = 20_000;
const silent = (): void => undefined;

/** Brings the fleet up and returns when every host is online. Throws with the end of the log of what did not come up. */
export async function fleetUp(options: FleetOptions): Promise<Fleet> {
  const layout = layoutOf(options.dir);
  const say = options.say ?? silent;
  const programs = builtPrograms();
  mkdirSync(layout.dir, { recursive: true });
  const known = readState(layout);
  const hosts = [...new Set([...(known?.hosts ?? []), ...options.hosts])];
  for (const host of hosts) checkHostName(host);
  const fleet: Fleet = { dir: options.dir, address: await addressFor(layout, known), hosts };
  writeState(layout, fleet);
  if (known !== undefined && known.address !== fleet.address) await moveAgents(layout, fleet);
  await bringController(layout, programs, fleet, say);
  writeShellFiles(layout, [programs.node, programs.cli]);
  await Promise.all(hosts.map((host) => bringHost(layout, programs, fleet, host, say)));
  return fleet;
}

/** Ends every process of the fleet; the state stays. Returns the names of those that ran. */
export async function fleetDown(dir: string): Promise<string[]> {
  const layout = layoutOf(dir);
  const state = stateOf(layout);
  const ended: string[] = [];
  const end = async (name: string): Promise<void> => {
    const record = recordedProcess(layout.runFile(name));
    if (record !== undefined) {
      await endProcess(record, 'SIGTERM', GRACE_MS);
      ended.push(name);
    }
    forget(layout.runFile(name));
  };
  await Promise.all(state.hosts.map(end));
  await end(CONTROLLER);
  // A controller that was killed could not stop its PostgreSQL. SIGINT is its fast shutdown.
  for (const server of postgresServers(layout)) {
    await endProcess(server, 'SIGINT', GRACE_MS);
    ended.push('postgres');
  }
  return ended;
}

export async function fleetStatus(dir: string): Promise<FleetProcess[]> {
  const layout = layoutOf(dir);
  const names = [CONTROLLER, ...stateOf(layout).hosts];
  return await Promise.resolve(names.map((name) => ({ name, pid: recordedProcess(layout.runFile(name))?.pid })));
}

/** SIGKILL to one process (`controller` or a host). The controller's PostgreSQL lives on, as it would in the field. */
export async function fleetKill(dir: string, name: string): Promise<void> {
  const layout = layoutOf(dir);
  checkMember(stateOf(layout), name);
  const record = recordedProcess(layout.runFile(name));
  if (record === undefined || !signal(record, 'SIGKILL')) throw new Error(`${name} does not run`);
  if (!(await gone(record, GRACE_MS))) throw new Error(`${name} (process ${record.pid}) does not end`);
}

/** Starts one process again; returns when it is ready (controller) or online (host). */
export async function fleetStart(dir: string, name: string): Promise<void> {
  const layout = layoutOf(dir);
  const state = stateOf(layout);
  checkMember(state, name);
  const programs = builtPrograms();
  if (name === CONTROLLER) await bringController(layout, programs, state, silent);
  else await bringHost(layout, programs, state, name, silent);
}

/** Runs `holdfast` logged in to the fleet. Never throws on a failing command: look at `code`. */
export async function holdfast(dir: string, args: readonly string[], input = ''): Promise<CliResult> {
  const { node, cli } = builtPrograms();
  const { PATH, TZ } = process.env;
  const { contextFile, cacheDir } = layoutOf(dir);
  const env = { PATH, TZ, HOLDFAST_CONTEXT: contextFile, NODE_COMPILE_CACHE: cacheDir };
  return await new Promise((resolve) => {
    const child = execFile(node, [cli, ...args], { env, maxBuffer: 1 << 30 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, stdout, stderr });
    });
    child.stdin?.end(input);
  });
}

/** The address of before, unless somebody else listens there by now. */
async function addressFor(layout: FleetLayout, known: Fleet | undefined): Promise<string> {
  if (known !== undefined) {
    const ours = recordedProcess(layout.runFile(CONTROLLER)) !== undefined;
    if (ours || (await isFree(known.address))) return known.address;
  }
  return `127.0.0.1:${await freePort()}`;
}

/** What still runs would call at the old address for ever. */
async function moveAgents(layout: FleetLayout, fleet: Fleet): Promise<void> {
  for (const host of fleet.hosts) {
    redirectAgent(layout, host, fleet.address);
    const record = recordedProcess(layout.runFile(host));
    if (record !== undefined) await endProcess(record, 'SIGTERM', GRACE_MS);
  }
}

async function bringController(
  layout: FleetLayout,
  programs: BuiltPrograms,
  fleet: Fleet,
  say: (line: string) => void,
): Promise<void> {
  const start = (): ProcessRecord => startController(layout, programs, fleet.address);
  await bring(layout, CONTROLLER, start, async () => {
    const credentials = ownerCredentials(layout);
    if (credentials === undefined) return false;
    await withOperator(fleet.address, credentials, async (operator) => await operator.whoAmI({}));
    return true;
  });
  await logIn(layout, fleet);
  say(`controller at ${fleet.address}`);
}

/** Waits for the process that runs, or starts one. One that was killed a moment ago may still seem to run: then it is started. */
async function bring(
  layout: FleetLayout,
  name: string,
  start: () => ProcessRecord,
  ready: () => Promise<boolean>,
): Promise<void> {
  const running = recordedProcess(layout.runFile(name));
  if (running !== undefined) {
    try {
      return await waitFor(layout, name, running, ready);
    } catch (error) {
      if (!(error instanceof MemberEnded)) throw error;
    }
  }
  await waitFor(layout, name, start(), ready);
}

async function logIn(layout: FleetLayout, fleet: Fleet): Promise<void> {
  const credentials = ownerCredentials(layout)!;
  const { operator, roles } = await withOperator(fleet.address, credentials, async (client) => await client.whoAmI({}));
  const domain = roles.length === 1 ? (roles[0]?.domain ?? '') : '';
  const context = {
    address: fleet.address,
    ca: credentials.caPem,
    operator,
    token: credentials.token,
    expiresAtMs: 0,
    domain,
  };
  const text = JSON.stringify({ current: 'fleet', contexts: { fleet: context } }, null, 2);
  writeFileSync(`${layout.contextFile}.new`, `${text}\n`, { mode: 0o600 });
  renameSync(`${layout.contextFile}.new`, layout.contextFile);
}

async function bringHost(
  layout: FleetLayout,
  programs: BuiltPrograms,
  fleet: Fleet,
  host: string,
  say: (line: string) => void,
): Promise<void> {
  const credentials = ownerCredentials(layout)!;
  if (!isEnrolled(layout, host)) {
    const token = await withOperator(fleet.address, credentials, async (operator) => {
      const { hosts } = await operator.listHosts({});
      const replace = hosts.some((known) => known.name === host);
      return (await operator.addHost({ name: host, replace })).token;
    });
    mkdirSync(layout.hostDir(host), { recursive: true, mode: 0o700 });
    await enrolAgent(layout, programs, host, token);
  }
  // What the catalog says of an earlier process of that host does not count.
  let sinceMs = 0;
  const start = (): ProcessRecord => {
    sinceMs = Date.now();
    return startAgent(layout, programs, host);
  };
  await bring(layout, host, start, async () => {
    const { hosts } = await withOperator(fleet.address, credentials, async (operator) => await operator.listHosts({}));
    return hosts.some(
      ({ name, state, lastSeenMs }) => name === host && state === 'online' && Number(lastSeenMs) >= sinceMs,
    );
  });
  say(`${host} is online`);
}
