// A host's disk: what is on it before it boots for the first time. The overlays' own files are written beneath their mount points.

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { LabLayout } from './layout.ts';
import { DIRECTORIES, diskName, initScript, OVERLAYS } from './init-script.ts';
import { MACHINES, machine, SERVICE_ADDRESS, ZONE, type Machine } from './machines.ts';
import { PROTECTED_UNITS, unitScripts, UNIT_DIR, type Programs } from './units.ts';

/** Where a host's file is for everybody else, also while the host is dead. In an overlay: only what the host itself wrote. */
export function onDisk(layout: LabLayout, host: string, path: string): string {
  const directory = DIRECTORIES.find((known) => path === known || path.startsWith(`${known}/`));
  if (directory !== undefined) {
    return join(layout.diskDir(host), diskName(directory), path.slice(directory.length));
  }
  const overlay = OVERLAYS.find((known) => path.startsWith(`${known}/`));
  if (overlay === undefined) throw new Error(`${path} is not on a disk of ${host}`);
  return join(layout.diskDir(host), diskName(overlay), 'upper', path.slice(overlay.length));
}

/** Writes a file of a host that is not booted, or one outside of its overlays. */
export function putOnDisk(layout: LabLayout, host: string, path: string, text: string, mode = 0o644): void {
  const file = onDisk(layout, host, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, mode);
}

/** Partitions and formats, so to speak; does nothing to a disk that is there. */
export function prepareDisk(layout: LabLayout, host: Machine, programs: Programs): void {
  const disk = layout.diskDir(host.name);
  if (existsSync(join(disk, 'ready'))) return;
  for (const path of OVERLAYS) {
    for (const part of ['upper', 'work']) mkdirSync(join(disk, diskName(path), part), { recursive: true });
  }
  for (const path of DIRECTORIES) mkdirSync(join(disk, diskName(path)), { recursive: true });
  chmodSync(join(disk, diskName('/tmp')), 0o1777);
  chmodSync(join(disk, diskName('/root')), 0o700);
  const put = (path: string, text: string, mode = 0o644): void => putOnDisk(layout, host.name, path, text, mode);
  put('/etc/hostname', `${host.name}\n`);
  put('/etc/machine-id', `${randomBytes(16).toString('hex')}\n`);
  put('/etc/hosts', hostsFile());
  put('/etc/resolv.conf', `search ${ZONE}\nnameserver ${machine('mon-1').address}\noptions timeout:1 attempts:2\n`);
  const scripts = unitScripts(programs);
  for (const unit of [...host.boot, ...unitsByHand(host.name)]) {
    put(join(UNIT_DIR, unit), scripts.get(unit)!, 0o755);
  }
  writeFileSync(layout.initFile(host.name), initScript(host.name, disk, layout.project, host.boot), { mode: 0o755 });
  writeFileSync(join(disk, 'ready'), '');
}

/** What is there and not started at boot: by the agent, or by a test. */
function unitsByHand(host: string): readonly string[] {
  return host.startsWith('web-') ? PROTECTED_UNITS : host === 'controller' ? ['replica'] : [];
}

function hostsFile(): string {
  const lines = MACHINES.map(({ name, address }) => `${address}\t${name}\n`);
  return `127.0.0.1\tlocalhost\n${lines.join('')}${SERVICE_ADDRESS}\tshop\n`;
}
