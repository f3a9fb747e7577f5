// What a fleet remembers between `up` and `up`: its address and its hosts.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { CONTROLLER, type FleetLayout } from './layout.ts';

export interface Fleet {
  readonly dir: string;
  /** "127.0.0.1:PORT" */
  readonly address: string;
  readonly hosts: readonly string[];
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
