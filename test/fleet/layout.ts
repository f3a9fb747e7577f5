// Where a disposable fleet keeps things: everything below one directory.
//
//   DIR/fleet.json          port and hosts, so that `up` goes on with what was there
//   DIR/env                 to source: holdfast on PATH, logged in
//   DIR/bin/holdfast        the wrapper that runs the built command line with the pinned Node
//   DIR/context.json        the command line's login
//   DIR/cache/              code that Node has compiled for it
//   DIR/controller/         data directory of the controller (catalog, packs, CA)
//   DIR/hosts/web-1/        state directory of an agent
//   DIR/logs/NAME.log       output of each process, appended
//   DIR/run/NAME.json       pid and start time of each process that runs

import { join } from 'node:path';

export const CONTROLLER = 'controller';

export interface FleetLayout {
  readonly dir: string;
  readonly stateFile: string;
  readonly envFile: string;
  readonly binDir: string;
  readonly contextFile: string;
  readonly cacheDir: string;
  readonly controllerDir: string;
  readonly hostDir: (host: string) => string;
  readonly logFile: (name: string) => string;
  readonly runFile: (name: string) => string;
}

/** `dir` is absolute. `name` is a host or `controller`. */
export function layoutOf(dir: string): FleetLayout {
  return {
    dir,
    stateFile: join(dir, 'fleet.json'),
    envFile: join(dir, 'env'),
    binDir: join(dir, 'bin'),
    contextFile: join(dir, 'context.json'),
    cacheDir: join(dir, 'cache'),
    controllerDir: join(dir, 'controller'),
    hostDir: (host) => join(dir, 'hosts', host),
    logFile: (name) => join(dir, 'logs', `${name}.log`),
    runFile: (name) => join(dir, 'run', `${name}.json`),
  };
}
