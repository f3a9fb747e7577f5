// Where a lab keeps things, and what it is called outside its directory.
//
//   DIR/lab.json             the lab's id, from before anything is made
//   DIR/env, bin, context.json, cache    as of a disposable fleet (../fleet/layout.ts): holdfast on PATH, logged in
//   DIR/hosts/web-1/disk/    what survives the host's death: see host-disk.ts
//   DIR/hosts/web-1/init     what process 1 of the host runs
//   DIR/logs/web-1.log       the host's console
//   DIR/run/web-1.json       pid and start time of what holds the host's process namespace
//
// Outside of DIR there are only network namespaces, named after the lab, and processes in them: so whoever has the id can end it all.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { layoutOf, type FleetLayout } from '../fleet/layout.ts';

/** The network namespace that is the cable between the hosts, and the operator's own place in it. */
export const WIRE = 'wire';

export interface LabLayout extends FleetLayout {
  readonly id: string;
  /** Of the checkout that the programs are in. */
  readonly project: string;
  /** Name of the network namespace of a host, or of WIRE. */
  readonly namespace: (name: string) => string;
  /** Where the network namespace can be entered. */
  readonly namespaceFile: (name: string) => string;
  readonly diskDir: (host: string) => string;
  readonly initFile: (host: string) => string;
}

const ID = /^[0-9a-f]{6}$/;

export function labLayout(dir: string, id: string): LabLayout {
  if (!ID.test(id)) throw new Error(`"${id}" is not the id of a lab`);
  const namespace = (name: string): string => `holdfast-${id}-${name}`;
  return {
    ...layoutOf(dir),
    id,
    project: projectDirectory(),
    namespace,
    namespaceFile: (name) => join('/run/netns', namespace(name)),
    diskDir: (host) => join(dir, 'hosts', host, 'disk'),
    initFile: (host) => join(dir, 'hosts', host, 'init'),
  };
}

/** The id that a directory's lab has; undefined: there is none. */
export function knownId(dir: string): string | undefined {
  const file = join(dir, 'lab.json');
  if (!existsSync(file)) return undefined;
  const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
  if (typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string') return value.id;
  throw new Error(`${file} is not that of a lab`);
}

export function rememberId(dir: string, id: string): void {
  const file = join(dir, 'lab.json');
  writeFileSync(`${file}.new`, `${JSON.stringify({ id })}\n`);
  renameSync(`${file}.new`, file);
}

/** Upwards, because this file runs from source and from test/dist. */
function projectDirectory(): string {
  let directory = import.meta.dirname;
  while (!existsSync(join(directory, 'pnpm-workspace.yaml'))) {
    const above = dirname(directory);
    if (above === directory) throw new Error('the workspace was not found above the lab');
    directory = above;
  }
  return directory;
}
