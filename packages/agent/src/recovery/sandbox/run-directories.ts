// The directories of this host's /run, for a sandbox whose /run is its own: at boot the host made them for services that run as other accounts.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RunDirectory } from './init-script.ts';

const DEPTH = 2;
const MOST = 256;
/** What makes programs believe that systemd is there to be asked, and what is of people and networks. */
const LEFT_OUT = new Set(['/run/systemd', '/run/user', '/run/netns', '/run/udev', '/run/holdfast-drill']);

/** Parents first. What can't be read is left out. */
export function runDirectories(root = '/run'): RunDirectory[] {
  const found: RunDirectory[] = [];
  const look = (directory: string, depth: number): void => {
    for (const name of namesIn(directory)) {
      const path = join(directory, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (found.length >= MOST || stat === undefined || LEFT_OUT.has(path)) continue;
      found.push({ path, uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o7777 });
      if (depth > 1) look(path, depth - 1);
    }
  };
  look(root, DEPTH);
  return found;
}

function namesIn(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch {
    return [];
  }
}
