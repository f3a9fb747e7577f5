// What a snapshot says of itself: how it was made, where it stands in the log, and, for a dump, in which order its parts are loaded.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { z } from 'zod';

export const INDEX_PATH = 'holdfast/dump.json';
export const PHYSICAL_INDEX_PATH = 'holdfast/physical.json';

const position = z.object({ file: z.string(), offset: z.number(), gtid: z.string() });
const facts = z.record(z.string(), z.string());
/** Paths of the snapshot, as byte strings. */
const partPath = z
  .string()
  .regex(/^dump\/[^\0]+$/)
  .refine((path) => !path.split('/').includes('..'));

const indexSchema = z.discriminatedUnion('method', [
  z.object({ version: z.literal(1), method: z.literal('logical'), facts, position, parts: z.array(partPath) }),
  z.object({ version: z.literal(1), method: z.literal('physical'), facts, position }),
]);

export type BaseIndex = z.infer<typeof indexSchema>;

/** Of a snapshot that was restored to `directory`. Throws DAMAGED. */
export function readIndex(directory: string): BaseIndex {
  for (const path of [INDEX_PATH, PHYSICAL_INDEX_PATH]) {
    let text: string;
    try {
      text = readFileSync(join(directory, path), 'utf8');
    } catch {
      continue;
    }
    try {
      return indexSchema.parse(JSON.parse(text));
    } catch (cause) {
      throw new HoldfastError('DAMAGED', `${path} of the snapshot is none that this agent knows`, { cause });
    }
  }
  throw new HoldfastError('DAMAGED', 'the snapshot says neither of a dump nor of a copy of files', {
    hint: 'It was not made by the MariaDB engine.',
  });
}
