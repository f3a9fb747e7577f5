// When a source's last base was, kept in the agent's state directory: an agent that is restarted more often than a base is due takes them
// all the same.
//
// Tested in base-keeper.test.ts.

import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFileDurably } from '../../link/durable-file.ts';

/** Wall clock, ms. Undefined: nothing that can be read. */
export function readLastBase(folder: string, file: string): number | undefined {
  try {
    const kept: unknown = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    const last: unknown = typeof kept === 'object' && kept !== null ? Reflect.get(kept, 'lastBaseAtMs') : undefined;
    return typeof last === 'number' && Number.isFinite(last) ? last : undefined;
  } catch {
    return undefined;
  }
}

/** Makes the folder when there is none. Throws what the file system does. @param atMs wall clock */
export function keepLastBase(folder: string, file: string, atMs: number): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  replaceFileDurably(folder, file, Buffer.from(JSON.stringify({ lastBaseAtMs: Math.round(atMs) })), randomUUID());
}
