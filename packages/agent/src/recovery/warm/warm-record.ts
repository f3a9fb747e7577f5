// What is known of a warm copy of a database, on disk: enough to go on with it after this agent was restarted.

import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFileDurably } from '../../link/durable-file.ts';

const schema = z.object({
  application: z.string(),
  sourceId: z.string(),
  dataDir: z.string(),
  port: z.int(),
  bin: z.string(),
  account: z.object({ uid: z.int(), gid: z.int() }),
  superuser: z.string(),
  serverVersion: z.string(),
  walFileBytes: z.int(),
  tablespacesInPlace: z.boolean(),
  systemIdentifier: z.string(),
  /** Of the base. */
  baseTimeline: z.int(),
  baseStart: z.string(),
  /** The newest of the stored log. */
  timeline: z.int(),
  /** For reading it; base64. It names this host, and nobody else can use it. */
  grant: z.string(),
  /** Why it can't go on and needs a new base; empty: it goes on. */
  broken: z.string(),
});

export type WarmRecord = z.output<typeof schema>;

const FOLDER = 'warm';

export function warmKey({ application, sourceId }: Pick<WarmRecord, 'application' | 'sourceId'>): string {
  return `${application}.${sourceId}`;
}

/** Records that can't be read are left out: their copies are made anew when the controller asks next. */
export function readWarmRecords(stateDir: string): WarmRecord[] {
  const folder = join(stateDir, FOLDER);
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.json') && !name.startsWith('.'));
  return names.flatMap((name) => {
    try {
      return [schema.parse(JSON.parse(readFileSync(join(folder, name), 'utf8')))];
    } catch {
      return [];
    }
  });
}

export function hasWarmRecord(stateDir: string, of: Pick<WarmRecord, 'application' | 'sourceId'>): boolean {
  return existsSync(join(stateDir, FOLDER, `${warmKey(of)}.json`));
}

export function writeWarmRecord(stateDir: string, record: WarmRecord): void {
  const folder = join(stateDir, FOLDER);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  replaceFileDurably(folder, `${warmKey(record)}.json`, Buffer.from(JSON.stringify(record)), randomUUID());
}

export function removeWarmRecord(stateDir: string, record: Pick<WarmRecord, 'application' | 'sourceId'>): void {
  rmSync(join(stateDir, FOLDER, `${warmKey(record)}.json`), { force: true });
}
