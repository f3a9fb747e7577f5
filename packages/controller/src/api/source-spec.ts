// What an operator may ask an agent to protect: the specification is checked before it is kept.
//
// Hazard: an agent runs what the specification names as hooks, as root. They are programs with arguments by absolute path,
// never a shell's line; the agent checks again.
//
// Tested in source-spec.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

const NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/i;
const NAME_HINT = 'Use letters, digits, and . _ - between them, 63 at the most.';
const PATHS_MAX = 256;
const PATTERNS_MAX = 10_000;
const PATH_MAX_BYTES = 4096;
const CODECS = new Set(['', 'zstd', 'lz4', 'none']);
const LEVEL_MAX = 19;

/** The same specification. Throws INVALID_ARGUMENT that names what is wrong. */
export function checkSourceSpec(spec: SourceSpec | undefined): SourceSpec {
  if (spec === undefined) throw invalid('a source needs a specification');
  if (!NAME.test(spec.name)) throw invalid(`${JSON.stringify(spec.name)} is not a name for a source`, NAME_HINT);
  if (spec.type?.$case !== 'files') throw invalid('the type of the source is missing: files');

  const { paths, excludes, includes } = spec.type.value;
  if (paths.length === 0 || paths.length > PATHS_MAX) throw invalid(`a source has 1 to ${PATHS_MAX} paths`);
  for (const path of paths) checkPath(path, 'path');
  if (new Set(paths).size !== paths.length) throw invalid('a path is given twice');
  if (excludes.length + includes.length > PATTERNS_MAX) throw invalid(`more than ${PATTERNS_MAX} patterns`);
  for (const program of [spec.hooks?.before[0], spec.hooks?.after[0]]) {
    if (program !== undefined) checkPath(program, 'hook');
  }
  if (!CODECS.has(spec.compression?.codec ?? '')) throw invalid('the compression is zstd, lz4 or none');
  const level = spec.compression?.level ?? 0;
  if (level < 0 || level > LEVEL_MAX) throw invalid(`the compression level is 0 to ${LEVEL_MAX}`);
  return spec;
}

/** Throws INVALID_ARGUMENT unless the path is absolute and plain. */
export function checkPath(path: string, what: string): void {
  const plain = path.startsWith('/') && !path.includes('\0') && !path.split('/').includes('..');
  if (!plain || Buffer.byteLength(path) > PATH_MAX_BYTES) {
    throw invalid(`the ${what} ${JSON.stringify(path.slice(0, 200))} is not absolute, or has '..' in it`);
  }
}

function invalid(message: string, hint = ''): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', message, { hint });
}
