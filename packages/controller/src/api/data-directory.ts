// Where a database lies on its own host, out of what its newest snapshot says of itself.
//
// Hazard: a directory that is guessed is one that is overwritten. So it is known from the snapshot, or it is not known: a domain whose key
// the controller doesn't have, an engine whose snapshots don't say it, and anything that is no plain absolute path give nothing.
//
// Tested in data-directory.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { z } from 'zod';

import { latestSnapshots } from '../browse/snapshots.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Source } from '../fleet/sources.ts';
import { engineOf } from './engine-restore.ts';
import { checkPath } from './source-spec.ts';

export interface DataDirectoryDeps {
  readonly catalog: Catalog;
  /** A small file out of a snapshot. */
  readonly fileContent: (
    domainId: string,
    snapshotId: Uint8Array,
    path: string,
    maxBytes: number,
  ) => AsyncGenerator<Buffer>;
}

/** Written by agents into every base backup of the engine. */
const FACTS_PATHS: Readonly<Record<string, string>> = { postgres: 'holdfast/base.json' };
const FACTS_MAX_BYTES = 1024 * 1024;

export interface DataPlace {
  readonly directory: string;
  /** Directories of it that lie elsewhere: tablespaces. */
  readonly further: readonly string[];
}

/** Undefined: nobody can tell. */
export async function dataPlaceOf(
  { catalog, fileContent }: DataDirectoryDeps,
  source: Source,
): Promise<DataPlace | undefined> {
  const path = FACTS_PATHS[engineOf(source)?.type ?? ''];
  const newest = path === undefined ? undefined : (await latestSnapshots(catalog.pool, [source.id])).get(source.id);
  if (path === undefined || newest === undefined) return undefined;
  const pieces: Buffer[] = [];
  try {
    // The piece is the reader's, and is overwritten by the next.
    for await (const piece of fileContent(source.domainId, newest.latest.id, path, FACTS_MAX_BYTES)) {
      pieces.push(Buffer.from(piece));
    }
    return placeIn(Buffer.concat(pieces).toString('utf8'));
  } catch (error) {
    // The controller can't read it, or it says nothing that can be understood.
    if (error instanceof HoldfastError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const facts = z.object({
  dataDirectory: z.string(),
  tablespaces: z.array(z.object({ location: z.string() })).default([]),
});

/** Throws SyntaxError, INVALID_ARGUMENT. */
function placeIn(json: string): DataPlace | undefined {
  const said = facts.safeParse(JSON.parse(json));
  if (!said.success || said.data.dataDirectory === '/') return undefined;
  const { dataDirectory, tablespaces } = said.data;
  const further = [...new Set(tablespaces.map(({ location }) => location))];
  for (const path of [dataDirectory, ...further]) checkPath(path, 'data directory');
  return { directory: dataDirectory, further };
}
