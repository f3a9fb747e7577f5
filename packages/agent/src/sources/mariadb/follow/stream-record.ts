// What an agent knows of the log that it follows, in a file of its state directory: the stream's name, and events by which the
// server's log is known again.
//
// Hazard: a server whose log was begun anew (RESET MASTER, a restore) has files of the same names, and going on in them would
// mix two histories. So going on begins with an event that is known, and a log that doesn't have it is another stream.
//
// A lost record costs a new stream and a new base, nothing else.

import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogStream } from '@holdfast/shared/format/log-point';
import { z } from 'zod';
import { replaceFileDurably } from '../../../link/durable-file.ts';
import { comparePositions, type BinlogPosition } from '../binlog/position.ts';
import type { Anchor } from './piece-builder.ts';

const anchorSchema = z.strictObject({
  file: z.string().max(512),
  offset: z.int().nonnegative(),
  length: z.int().nonnegative(),
  timestampS: z.int().nonnegative(),
  crc: z.int().nonnegative(),
});

const recordSchema = z.strictObject({
  version: z.literal(1),
  stream: z.strictObject({ systemIdentifier: z.string().min(1).max(128), timeline: z.int().nonnegative() }),
  /** The server that writes it: `serverKey`. */
  server: z.string().max(128),
  /** The file that the stream begins with. */
  firstFile: z.string().max(512),
  /** In the log's order: the newest of each file, at most ANCHORS_KEPT. */
  anchors: z.array(anchorSchema),
});

export interface StreamRecord {
  readonly stream: LogStream;
  readonly server: string;
  readonly firstFile: string;
  readonly anchors: readonly Anchor[];
}

const ANCHORS_KEPT = 64;
const FILE = 'log.json';

export function newStream(server: string, firstFile: string): StreamRecord {
  const name = `${server}-${firstFile.slice(-40)}-${randomBytes(6).toString('hex')}`;
  return { stream: { systemIdentifier: name, timeline: 1 }, server, firstFile, anchors: [] };
}

/** The newest of a file takes the place of the one before. */
export function withAnchor(record: StreamRecord, anchor: Anchor): StreamRecord {
  const others = record.anchors.filter(({ file }) => file !== anchor.file);
  return { ...record, anchors: [...others, anchor].slice(-ANCHORS_KEPT) };
}

/** The newest event that is known before a position. */
export function anchorBefore(record: StreamRecord, position: BinlogPosition): Anchor | undefined {
  return record.anchors.findLast((anchor) => comparePositions(anchor, position) < 0);
}

/** undefined: there is none, or none that can be read. */
export function loadRecord(stateDir: string, sourceId: string): StreamRecord | undefined {
  try {
    const text = readFileSync(join(folderOf(stateDir, sourceId), FILE), 'utf8');
    return recordSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

export function saveRecord(stateDir: string, sourceId: string, record: StreamRecord): void {
  const folder = folderOf(stateDir, sourceId);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const text = JSON.stringify({ version: 1, ...record });
  replaceFileDurably(folder, FILE, Buffer.from(text), randomUUID());
}

/** Of what is kept of one source. */
export function folderOf(stateDir: string, sourceId: string): string {
  // The id comes from the controller and becomes a name here: only what an id can look like.
  if (!/^[0-9a-zA-Z-]{1,64}$/.test(sourceId)) {
    throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller named a source by something that is no id');
  }
  return join(stateDir, 'mariadb', sourceId);
}
