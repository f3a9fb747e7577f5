// The files that a blueprint is read from, below a root: '/' on a host, a directory of samples in a test.
//
// Hazard: nothing here may hang or grow without bound, whatever stands in /etc: only regular files are read, up to a bound.

import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

const FILE_MAX_BYTES = 64 * 1024 * 1024;
/** A configuration file larger than this is none. */
export const CONFIG_MAX_BYTES = 256 * 1024;

export interface HostFiles {
  /** The file's text; undefined when it is not there, can't be read, is no regular file, or is larger than `most`. */
  text(path: string, most?: number): string | undefined;
  /** Names in a directory, sorted; none when it can't be read. */
  names(path: string): readonly string[];
  /** Target of a symlink; undefined for everything else. */
  link(path: string): string | undefined;
}

export function hostFiles(root = '/'): HostFiles {
  return {
    text: (path, most = FILE_MAX_BYTES) => readText(join(root, path), most),
    names(path) {
      try {
        return readdirSync(join(root, path)).toSorted();
      } catch {
        return [];
      }
    },
    link(path) {
      try {
        return readlinkSync(join(root, path));
      } catch {
        return undefined;
      }
    },
  };
}

function readText(path: string, most: number): string | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    if (!fstatSync(file).isFile()) return undefined;
    const parts: Buffer[] = [];
    let length = 0;
    for (;;) {
      // Files of /proc have a size of 0, so the end is found by reading.
      const part = Buffer.allocUnsafe(64 * 1024);
      const got = readSync(file, part, 0, part.length, null);
      if (got === 0) return Buffer.concat(parts).toString('utf8');
      length += got;
      if (length > most) return undefined;
      parts.push(part.subarray(0, got));
    }
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Inodes of the sockets that a process holds, of those that may be looked at: descriptors and processes go while they are read. */
export function socketsOf(files: HostFiles, pid: string): string[] {
  return files
    .names(`proc/${pid}/fd`)
    .flatMap((descriptor) => /^socket:\[(\d+)\]$/.exec(files.link(`proc/${pid}/fd/${descriptor}`) ?? '')?.[1] ?? []);
}

/** Every regular file directly in `directory` whose name `wanted` takes, as path → text. */
export function configFiles(
  files: HostFiles,
  directory: string,
  wanted: (name: string) => boolean,
): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of files.names(directory)) {
    if (!wanted(name)) continue;
    const text = files.text(join(directory, name), CONFIG_MAX_BYTES);
    if (text !== undefined) found.set(join(directory, name), text);
  }
  return found;
}
