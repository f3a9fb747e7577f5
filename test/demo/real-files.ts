// Files for the demo: copies of what is on the machine, so that the figures are those of real data; and changes as a site
// sees them between two backups.

import { spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

/** Enough to see it work, little enough that a second run is quick. */
const BYTES_MAX = 128 * 1024 * 1024;
const PACKAGE_BYTES_MAX = 16 * 1024 * 1024;

export interface TreeSize {
  readonly entries: number;
  readonly bytes: number;
}

/** Copies system directories and installed packages into `target`, until it holds about BYTES_MAX. Returns what was taken. */
export async function fillWithRealFiles(target: string, workspace: string): Promise<string[]> {
  mkdirSync(target, { recursive: true });
  const taken: string[] = [];
  let bytes = 0;
  for (const [from, to, limit] of candidates(workspace)) {
    if (!existsSync(from)) continue;
    const size = sizeOf(from).bytes;
    if (size > limit || bytes + size > BYTES_MAX) continue;
    mkdirSync(join(target, to), { recursive: true });
    await copy(from, join(target, to));
    bytes += size;
    taken.push(from);
  }
  if (bytes === 0) throw new Error('nothing on this machine can be read to fill web-1 with');
  return taken;
}

function candidates(workspace: string): [from: string, to: string, limit: number][] {
  const system = ['/etc', '/usr/share/doc', '/usr/share/zoneinfo', '/usr/share/perl', '/usr/lib/python3'];
  const store = join(workspace, 'node_modules', '.pnpm');
  const packages = existsSync(store) ? readdirSync(store).filter((name) => name !== 'node_modules') : [];
  return [
    ...system.map((from): [string, string, number] => [from, basename(from), BYTES_MAX]),
    ...packages.map((name): [string, string, number] => [join(store, name), join('packages', name), PACKAGE_BYTES_MAX]),
  ];
}

/** As cp -a does it: with owners, modes and times as far as this user may. What can't be read is left out. */
async function copy(from: string, to: string): Promise<void> {
  const child = spawn('cp', ['-a', '--reflink=auto', `${from}/.`, to], { stdio: 'ignore' });
  await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
}

export function sizeOf(path: string): TreeSize {
  const { size } = lstatSync(path);
  let entries = 1;
  let bytes = size;
  if (!lstatSync(path).isDirectory()) return { entries, bytes };
  bytes = 0;
  for (const name of readable(path)) {
    const below = sizeOf(join(path, name));
    entries += below.entries;
    bytes += below.bytes;
  }
  return { entries, bytes };
}

function readable(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

const NEW_UPLOADS = 200;
const TOUCHED_FILES = 100;

/** A day on the site: uploads, edits, a log that grew, a release moved into place, something deleted. Says what it did. */
export function changeTree(root: string): string {
  const uploads = join(root, 'uploads');
  mkdirSync(uploads);
  for (let i = 0; i < NEW_UPLOADS; i++)
    writeFileSync(join(uploads, `order-${i}.json`), `${JSON.stringify({ order: i, paid: i % 3 > 0 })}\n`);
  writeFileSync(join(root, 'access.log'), 'GET / 200\n'.repeat(200_000));
  const files = regularFiles(root, TOUCHED_FILES);
  for (const file of files) appendFileSync(file, '\n# changed by the demo\n');
  symlinkSync('uploads/order-0.json', join(root, 'latest'));
  chmodSync(uploads, 0o750);
  const [first, second] = readdirSync(root).filter((name) => !['uploads', 'access.log', 'latest'].includes(name));
  if (second !== undefined && first !== undefined) renameSync(join(root, second), join(root, `${second}-renamed`));
  const removed = files.at(-1);
  if (removed !== undefined && existsSync(removed)) rmSync(removed);
  return `${NEW_UPLOADS + 1} files added, ${files.length} edited, ${second ?? 'nothing'} renamed`;
}

/** Up to `count` regular files that this user may write, found breadth first. */
function regularFiles(root: string, count: number): string[] {
  const found: string[] = [];
  const directories = [root];
  for (
    let directory = directories.shift();
    directory !== undefined && found.length < count;
    directory = directories.shift()
  ) {
    for (const name of readable(directory)) {
      const path = join(directory, name);
      const stat = lstatSync(path);
      if (stat.isDirectory()) directories.push(path);
      else if (stat.isFile() && stat.nlink === 1 && (stat.mode & 0o200) !== 0 && stat.uid === process.geteuid?.())
        found.push(path);
      if (found.length === count) break;
    }
  }
  return found;
}
