// The agent's configuration file: two lines after enrolment, a default for everything else.

import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { name, serviceCommands, type ServiceCommands } from '@holdfast/shared/recovery/step-types';
import { readConfig } from '@holdfast/shared/runtime/config';
import { makeDirectory } from '@holdfast/shared/runtime/make-directory';
import { z } from 'zod';
import { DEFAULT_PEER_LISTEN, type PeerSettings } from './recovery/failover/peer-addresses.ts';
import { DEFAULT_WATCHES } from './sources/files/watch-budget.ts';

export const DEFAULT_CONFIG_FILE = '/etc/holdfast/agent.yaml';
export const DEFAULT_STATE_DIR = '/var/lib/holdfast/agent';

const schema = z.strictObject({
  /** host:port; absent: where the host was enrolled. */
  controller: z
    .string()
    .regex(/^(\[[^\]]+\]|[^:\s]+):\d{1,5}$/, 'expected host:port')
    .optional(),
  state: z.string().startsWith('/', 'expected an absolute path').optional(),
  log_level: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
  log_file: z.string().startsWith('/', 'expected an absolute path').optional(),
  /** Directories watched at most, all sources together. */
  watch_budget: z.int().min(0).max(1_000_000).default(DEFAULT_WATCHES),
  /** How services are started, stopped and asked where systemd does not know them. */
  /** Where other hosts' agents get an answer, once an application needs it; off: nowhere. */
  peer: z
    .union([z.literal('off'), z.string().regex(/^(\[[^\]]+\]|[^:\s]+):\d{1,5}$/, 'expected host:port or off')])
    .default(DEFAULT_PEER_LISTEN),
  /** host:port by which other hosts reach it, when it is not what it listens on. */
  peer_advertise: z
    .string()
    .regex(/^(\[[^\]]+\]|[^:\s]+):\d{1,5}$/, 'expected host:port')
    .optional(),
  services: z.record(name, serviceCommands).default({}),
});

export interface AgentConfig {
  readonly stateDir: string;
  readonly controllerAddress: string | undefined;
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
  readonly logFile: string | undefined;
  readonly watchBudget: number;
  readonly peers: PeerSettings;
  readonly services: Readonly<Record<string, ServiceCommands>>;
}

export interface ConfigPlaces {
  /** `--config`. */
  readonly config?: string | undefined;
  /** `--state`: an agent of its own, which does not read the machine's file. */
  readonly state?: string | undefined;
}

export function configFile(places: ConfigPlaces): string {
  return places.config ?? (places.state === undefined ? DEFAULT_CONFIG_FILE : join(places.state, 'agent.yaml'));
}

/** Throws USAGE that names file, line and key. A file that was named must be there; the default one need not. */
export function loadAgentConfig(places: ConfigPlaces): AgentConfig {
  const path = configFile(places);
  const present = places.config !== undefined || existsSync(path);
  const settings = present ? readConfig(path, schema) : schema.parse({});
  return {
    stateDir: resolve(places.state ?? settings.state ?? DEFAULT_STATE_DIR),
    controllerAddress: settings.controller,
    logLevel: settings.log_level,
    logFile: settings.log_file,
    watchBudget: settings.watch_budget,
    peers: { listen: settings.peer === 'off' ? undefined : settings.peer, advertise: settings.peer_advertise },
    services: settings.services,
  };
}

/** Writes the two lines, unless there is a file already. Returns whether it wrote. */
export function writeFirstConfig(places: ConfigPlaces, stateDir: string, controllerAddress: string): boolean {
  const path = configFile(places);
  if (existsSync(path)) return false;
  makeDirectory(dirname(path), 0o755);
  // A JSON string is a YAML string.
  const lines = `controller: ${JSON.stringify(controllerAddress)}\nstate: ${JSON.stringify(resolve(stateDir))}\n`;
  writeFileSync(path, lines, { mode: 0o644, flag: 'wx' });
  return true;
}
