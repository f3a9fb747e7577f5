// Where the built programs are. A fleet runs what a package would install: JavaScript, with the Node that runs this.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface BuiltPrograms {
  readonly node: string;
  readonly cli: string;
  readonly agent: string;
  readonly controller: string;
}

/** Looks upwards for the workspace, because this file runs from source and from test/dist. Throws when nothing was built. */
export function builtPrograms(): BuiltPrograms {
  let root = import.meta.dirname;
  while (!existsSync(join(root, 'pnpm-workspace.yaml'))) {
    const above = dirname(root);
    if (above === root) throw new Error('the workspace was not found above the fleet');
    root = above;
  }
  const main = (name: string): string => join(root, 'packages', name, 'dist', 'main.js');
  const programs = { node: process.execPath, cli: main('cli'), agent: main('agent'), controller: main('controller') };
  for (const program of [programs.cli, programs.agent, programs.controller]) {
    if (!existsSync(program)) throw new Error(`${program} is missing: run ./dev build first`);
  }
  return programs;
}
