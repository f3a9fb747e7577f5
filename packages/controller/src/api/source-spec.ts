// What an operator may ask an agent to protect: the specification is checked before it is kept.
//
// Hazard: an agent runs what the specification names as hooks, as root. They are programs with arguments by absolute path,
// never a shell's line; the agent checks again.
//
// And no secret stays here (threat rule 5): what an engine is told is kept in the catalog and shown to every viewer, so a password
// in it is refused, whatever the engine is. Everything else about settings is the engine's to judge, on its host: `source check`.
//
// Tested in source-spec.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { EngineSource, FilesSource, Setting, SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

const NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/i;
const NAME_HINT = 'Use letters, digits, and . _ - between them, 63 at the most.';
const PATHS_MAX = 256;
const PATTERNS_MAX = 10_000;
const PATH_MAX_BYTES = 4096;
const CODECS = new Set(['', 'zstd', 'lz4', 'none']);
const LEVEL_MAX = 19;
const ENGINE = /^[a-z][a-z0-9-]{0,31}$/;
const SETTINGS_MAX = 256;
const SETTING = /^[a-z][a-z0-9._-]{0,63}$/i;
const SETTING_MAX_BYTES = 4096;
const SECRET_NAME = /^(.*[-_.])?(password|passwd|secret|token)$/i;
const SECRET_WORD = /(password|passwd|pwd)\s*=/i;
/** scheme://user:password@host */
const SECRET_IN_URL = /:\/\/[^/@\s]*:[^/@\s]+@/;

/** The same specification. Throws INVALID_ARGUMENT that names what is wrong. */
export function checkSourceSpec(spec: SourceSpec | undefined): SourceSpec {
  if (spec === undefined) throw invalid('a source needs a specification');
  if (!NAME.test(spec.name)) throw invalid(`${JSON.stringify(spec.name)} is not a name for a source`, NAME_HINT);
  if (spec.type?.$case === 'files') checkFiles(spec.type.value);
  else if (spec.type?.$case === 'engine') checkEngine(spec.type.value);
  else throw invalid('the type of the source is missing: files, postgres, mariadb, …');
  for (const program of [spec.hooks?.before[0], spec.hooks?.after[0]]) {
    if (program !== undefined) checkPath(program, 'hook');
  }
  if (!CODECS.has(spec.compression?.codec ?? '')) throw invalid('the compression is zstd, lz4 or none');
  const level = spec.compression?.level ?? 0;
  if (level < 0 || level > LEVEL_MAX) throw invalid(`the compression level is 0 to ${LEVEL_MAX}`);
  return spec;
}

function checkFiles({ paths, excludes, includes }: FilesSource): void {
  if (paths.length === 0 || paths.length > PATHS_MAX) throw invalid(`a source has 1 to ${PATHS_MAX} paths`);
  for (const path of paths) checkPath(path, 'path');
  if (new Set(paths).size !== paths.length) throw invalid('a path is given twice');
  if (excludes.length + includes.length > PATTERNS_MAX) throw invalid(`more than ${PATTERNS_MAX} patterns`);
}

function checkEngine({ type, settings }: EngineSource): void {
  if (!ENGINE.test(type)) throw invalid(`${JSON.stringify(type.slice(0, 60))} is not a type of source`);
  checkSettings(settings);
}

/** Of an engine, or of a restore. Throws INVALID_ARGUMENT for what is too much, given twice, or a password. */
export function checkSettings(settings: readonly Setting[]): void {
  if (settings.length > SETTINGS_MAX) throw invalid(`a source has at most ${SETTINGS_MAX} settings`);
  if (new Set(settings.map(({ name }) => name)).size !== settings.length) throw invalid('a setting is given twice');
  for (const { name, value } of settings) {
    if (!SETTING.test(name)) throw invalid(`${JSON.stringify(name.slice(0, 80))} is not the name of a setting`);
    if (value.includes('\0') || Buffer.byteLength(value) > SETTING_MAX_BYTES) {
      throw invalid(`the setting ${name} is longer than ${SETTING_MAX_BYTES} bytes, or has a NUL in it`);
    }
    if (SECRET_NAME.test(name) || SECRET_WORD.test(value) || SECRET_IN_URL.test(value)) {
      throw invalid(
        `the setting ${name} has a password in it, which would be kept in the catalog`,
        'Put it into a file on the host, and name that: passfile=FILE for PostgreSQL, defaults-file=FILE for MariaDB.',
      );
    }
  }
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
