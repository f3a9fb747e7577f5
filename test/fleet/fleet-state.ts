// What a fleet remembers between `up` and `up`: its address and its hosts; and where it may be.

import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { CONTROLLER, type FleetLayout } from './layout.ts';

export interface Fleet {
  readonly dir: string;
  /** "127.0.0.1:PORT" */
  readonly address: string;
  readonly hosts: readonly string[];
}

/**
 * Under root, PostgreSQL runs as another user, who must be able to reach its files: the fleet's own directory is opened for
 * passing through (what is private inside has its own modes), and one above it that is closed is named.
 */
export function prepareDirectory(layout: FleetLayout): void {
  mkdirSync(layout.dir, { recursive: true });
  if (process.getuid?.() !== 0) return;
  const mode = statSync(layout.dir).mode;
  if ((mode & 0o001) === 0) chmodSync(layout.dir, (mode & 0o7777) | 0o011);
  for (let at = layout.dir; at !== '/'; at = at.slice(0, at.lastIndexOf('/')) || '/') {
    if ((statSync(at).mode & 0o001) === 0) {
      throw new Error(
        `other users can't pass through ${at}, and PostgreSQL does not run as root: choose a directory elsewhere`,
      );
    }
  }
}

export function readState(layout: FleetLayout): Fleet | undefined {
  if (!existsSync(layout.stateFile)) return undefined;
  const value: unknown = JSON.parse(readFileSync(layout.stateFile, 'utf8'));
  const complete = typeof value === 'object' && value !== null && 'address' in value && 'hosts' in value;
  if (!complete || typeof value.address !== 'string' || !Array.isArray(value.hosts)) {
    throw new Error(`${layout.stateFile} is not the state of a fleet`);
  }
  return { dir: layout.dir, address: value.address, hosts: value.hosts.map(String) };
}

export function stateOf(layout: FleetLayout): Fleet {
  const state = readState(layout);
  if (state === undefined) throw new Error(`there is no fleet in ${layout.dir}: bring one up first`);
  return state;
}

export function writeState(layout: FleetLayout, { address, hosts }: Fleet): void {
  writeFileSync(`${layout.stateFile}.new`, `${JSON.stringify({ address, hosts }, null, 2)}\n`);
  renameSync(`${layout.stateFile}.new`, layout.stateFile);
}

export function checkHostName(host: string): void {
  if (/^[a-z0-9][a-z0-9.-]*$/i.test(host) && host !== CONTROLLER) return;
  throw new Error(`"${host}" is not a name for a host`);
}

export function checkMember(fleet: Fleet, name: string): void {
  if (name === CONTROLLER || fleet.hosts.includes(name)) return;
  throw new Error(`the fleet has no ${name}: it has ${[CONTROLLER, ...fleet.hosts].join(', ')}`);
}

export async function freePort(): Promise<number> {
  return await listenOnce(0);
}

export async function isFree(address: string): Promise<boolean> {
  return await listenOnce(Number(address.split(':')[1])).then(
    () => true,
    () => false,
  );
}

/** Listens and stops. Returns the port, which is another one only for 0. Rejects when it is taken. */
async function listenOnce(port: number): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('the system gave no port');
  return address.port;
}
