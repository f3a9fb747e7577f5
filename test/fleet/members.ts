// The members of a fleet, each as the command that runs it, and how to tell that it is ready.
//
// What the programs are called with, and which files they leave for others, is known here alone.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openChannel, createRpcClient } from '@holdfast/shared/rpc/channel';
import { OperatorDefinition, type OperatorClient } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { BuiltPrograms } from './built.ts';
import { CONTROLLER, type FleetLayout } from './layout.ts';
import { adoptProcess, spawnRecorded, type ProcessRecord } from './processes.ts';

/** Written by the controller's first start. */
const CA_FILE = 'ca.pem';
const ADMIN_TOKEN_FILE = 'admin-token';

/** How the agent's Node is started, here and by deploy/: a small nursery keeps it small. */
export const AGENT_NODE_FLAGS = ['--max-semi-space-size=4'];

export function startController(layout: FleetLayout, programs: BuiltPrograms, address: string): ProcessRecord {
  return spawnRecorded({
    command: programs.node,
    args: [programs.controller, 'serve', '--data', layout.controllerDir, '--listen', address],
    env: memberEnvironment(),
    cwd: layout.dir,
    logFile: layout.logFile(CONTROLLER),
    runFile: layout.runFile(CONTROLLER),
  });
}

export function startAgent(layout: FleetLayout, programs: BuiltPrograms, host: string): ProcessRecord {
  return spawnRecorded({
    command: programs.node,
    args: [...AGENT_NODE_FLAGS, programs.agent, 'run', '--state', layout.hostDir(host)],
    env: memberEnvironment(),
    cwd: layout.dir,
    logFile: layout.logFile(host),
    runFile: layout.runFile(host),
  });
}

export function isEnrolled(layout: FleetLayout, host: string): boolean {
  return existsSync(join(layout.hostDir(host), 'identity.json'));
}

/** The controller has moved: the agent finds it through its settings, and is started anew if it runs. */
export function redirectAgent(layout: FleetLayout, host: string, address: string): void {
  const file = join(layout.hostDir(host), 'agent.yaml');
  if (!existsSync(file)) return;
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^controller:.*$/m, `controller: ${JSON.stringify(address)}`));
}

/** Runs `holdfast-agent enrol` to its end. Throws with what it said. */
export async function enrolAgent(
  layout: FleetLayout,
  programs: BuiltPrograms,
  host: string,
  token: string,
): Promise<void> {
  const args = [programs.agent, 'enrol', '--state', layout.hostDir(host), token];
  const child = spawn(programs.node, args, {
    cwd: layout.dir,
    env: memberEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => said.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once('error', reject).once('close', resolve),
  );
  if (code !== 0) throw new Error(`${host} could not be enrolled:\n${Buffer.concat(said).toString('utf8').trim()}`);
}

/** The fleet is a world of its own: nothing that the caller's shell has set up for another one may leak in. */
function memberEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(HOLDFAST_|NODE_OPTIONS$|DATABASE_URL$|npm_)/.test(name)) env[name] = value;
  }
  return env;
}

export interface Credentials {
  readonly caPem: string;
  readonly token: string;
}

/** What the controller's first start leaves for its owner; undefined until it has. */
export function ownerCredentials(layout: FleetLayout): Credentials | undefined {
  try {
    const caPem = readFileSync(join(layout.controllerDir, CA_FILE), 'utf8');
    const token = readFileSync(join(layout.controllerDir, ADMIN_TOKEN_FILE), 'utf8').trim();
    return caPem.includes('END CERTIFICATE') && token !== '' ? { caPem, token } : undefined;
  } catch {
    return undefined;
  }
}

/** Calls the controller as its owner, once. */
export async function withOperator<T>(
  address: string,
  credentials: Credentials,
  use: (operator: OperatorClient) => Promise<T>,
): Promise<T> {
  const channel = openChannel({ address, caCertificatePem: credentials.caPem });
  try {
    const options = { bearerToken: credentials.token, unaryTimeoutMs: 5000 };
    return await use(createRpcClient(OperatorDefinition, channel, options));
  } finally {
    channel.close();
  }
}

/** The PostgreSQL servers below the controller's directory that run: they outlive a controller that was killed. */
export function postgresServers(layout: FleetLayout): ProcessRecord[] {
  return postmasterFiles(layout.controllerDir, 4).flatMap((file) => {
    const [pid, directory] = readFileSync(file, 'utf8').split('\n');
    const record = adoptProcess(Number(pid));
    // A stale file names a process that is something else by now: PostgreSQL's has its data directory as its own.
    return record !== undefined && directory !== undefined && commandOf(record.pid).includes(directory) ? [record] : [];
  });
}

function postmasterFiles(directory: string, depth: number): string[] {
  if (depth === 0) return [];
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  if (names.includes('postmaster.pid')) return [join(directory, 'postmaster.pid')];
  return names.flatMap((name) => postmasterFiles(join(directory, name), depth - 1));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
