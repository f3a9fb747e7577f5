// What a base backup says of itself, besides the files: `holdfast/base.json` in its snapshot, for whoever brings it back.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { z } from 'zod';

const schema = z.object({
  version: z.literal(1),
  serverVersion: z.string(),
  serverVersionNumber: z.int().positive(),
  systemIdentifier: z.string().regex(/^\d+$/),
  timeline: z.int().positive(),
  start: z.string(),
  end: z.string(),
  startAtMs: z.int(),
  endAtMs: z.int(),
  /** Of one file of the log. */
  walFileBytes: z.int().positive(),
  pageBytes: z.int().positive(),
  dataDirectory: z.string(),
  /** The role that initdb made: it may always come in. */
  superuser: z.string(),
  tablespaces: z.array(z.object({ oid: z.int().positive(), location: z.string() })),
});

export type BaseFacts = z.infer<typeof schema>;

/** Paths in the snapshot. */
export const FACTS_PATH = 'holdfast/base.json';
/** Tens of thousands of tablespaces. */
export const FACTS_MAX_BYTES = 4 * 1024 * 1024;
export const DATA_PATH = 'data';
export const TABLESPACES_PATH = 'tablespaces';
export const MANIFEST_PATH = 'data/backup_manifest';

export function encodeFacts(facts: BaseFacts): Buffer {
  return Buffer.from(`${JSON.stringify(facts, undefined, 2)}\n`);
}

/** Throws DAMAGED. */
export function decodeFacts(bytes: Uint8Array): BaseFacts {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new HoldfastError('DAMAGED', 'the snapshot does not say what base backup it holds', { cause });
  }
}

/** 150014 → 15 */
export function majorOf(versionNumber: number): number {
  return Math.floor(versionNumber / 10_000);
}
