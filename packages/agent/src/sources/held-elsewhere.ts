// What sources hold on other servers than this host's files: a slot that keeps a database's log, say. Written down before it is made.
//
// Hazard: a slot that nobody follows fills production's disk. A source may be taken away, or become another server, while its
// server can't be reached, or while no agent runs. So what is held is known from the disk, not from memory.
//
// One small file each, below STATE/held/TYPE, without a secret: settings of a source hold none.

import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Settings } from '../jobs/job.ts';
import { replaceFileDurably, systemFiles } from '../link/durable-file.ts';

export interface Held {
  /** What a source holds, and where: two sources never share one. */
  readonly key: string;
  readonly sourceId: string;
  /** Of the source, when it took hold. */
  readonly settings: Settings;
}

const FOLDER = 'held';
const schema = z.object({ key: z.string(), sourceId: z.string(), settings: z.record(z.string(), z.string()) });

/** Types of sources of which something may be held. */
export function heldTypes(stateDir: string): string[] {
  return namesIn(join(stateDir, FOLDER)).filter((type) => namesIn(join(stateDir, FOLDER, type)).length > 0);
}

/** What can't be read is not answered: its file stays, and says what it was to whoever looks. */
export function listHeld(stateDir: string, type: string): Held[] {
  const folder = join(stateDir, FOLDER, type);
  return namesIn(folder).flatMap((name) => {
    try {
      return [schema.parse(JSON.parse(readFileSync(join(folder, name), 'utf8')))];
    } catch {
      return [];
    }
  });
}

/** Durable when it returns. Throws the system's errors. */
export function noteHeld(stateDir: string, type: string, held: Held): void {
  const folder = join(stateDir, FOLDER, type);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  replaceFileDurably(folder, fileOf(held.key), Buffer.from(JSON.stringify(held)), randomUUID());
}

export function forgetHeld(stateDir: string, type: string, key: string): void {
  const folder = join(stateDir, FOLDER, type);
  rmSync(join(folder, fileOf(key)), { force: true });
  systemFiles.syncDirectory(folder);
}

function fileOf(key: string): string {
  return `${createHash('sha256').update(key).digest('hex').slice(0, 32)}.json`;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
