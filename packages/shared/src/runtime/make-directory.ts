// A directory that a program keeps its state in, made with whatever is missing above it.
//
// Hazard: Node's recursive mkdir never returns where a directory can't be made although its parent is there (/proc answers ENOENT,
// and Node goes on making the parent). So the parents are made one by one, and the first refusal is the end.
//
// Tested in make-directory.test.ts.

import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

import { HoldfastError } from '../base/errors.ts';

/** @param path absolute. Throws FAILED_PRECONDITION that names the directory and why. */
export function makeDirectory(path: string, mode: number): void {
  const missing: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    const there = lookAt(at);
    if (there === 'other') throw refused(path, `${at} is not a directory`);
    if (there === 'directory') break;
    missing.push(at);
    if (dirname(at) === at) break;
  }
  for (const at of missing.toReversed()) {
    try {
      mkdirSync(at, { mode });
    } catch (error) {
      // Somebody else made it meanwhile.
      if (codeOf(error) === 'EEXIST' && lookAt(at) === 'directory') continue;
      const why = REASONS.get(codeOf(error)) ?? codeOf(error);
      throw refused(path, at === path ? why : `${at}: ${why}`, error);
    }
  }
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'no permission'],
  ['EPERM', 'this file system does not allow it'],
  ['EROFS', 'the file system is read-only'],
  ['ENOSPC', 'the disk is full'],
  ['ENOENT', 'this file system takes no new directories'],
]);

function lookAt(path: string): 'directory' | 'other' | 'nothing' {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? 'nothing' : stat.isDirectory() ? 'directory' : 'other';
  } catch (error) {
    // Below something that is no directory; the walk upwards comes to it.
    if (codeOf(error) === 'ENOTDIR') return 'nothing';
    throw refused(path, REASONS.get(codeOf(error)) ?? codeOf(error), error);
  }
}

function refused(path: string, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', `the directory ${path} can't be made: ${why}`, {
    hint: 'Name another directory, or make this one.',
    cause,
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
