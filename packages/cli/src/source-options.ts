// The settings of a source, as options of `source add` and `source set`, and the requests behind them.
//
// Hazard: `set` must change what was named and nothing else. So an option that was not given is no field of the request,
// and what clears a setting is an option of its own.
//
// Pure. Tested in source-options.test.ts.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { AddSourceRequest, SetSourceRequest } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { EngineSource, FilesSource, Hooks, SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { engineSettings, engineSource, SOURCE_TYPES } from './engine-options.ts';
import { repeated } from './session/repeated-option.ts';
import { parseRate } from './words/sizes.ts';

export interface AddOptions {
  readonly host: string;
  readonly type: string;
  readonly path?: readonly string[];
  readonly exclude?: readonly string[];
  readonly include?: readonly string[];
  readonly oneFileSystem?: boolean;
  readonly excludeCaches?: boolean;
  readonly continuous?: boolean;
  readonly scanEvery?: string;
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  readonly hookTimeout?: string;
  readonly requireBefore?: boolean;
  readonly limit?: string;
  readonly compression: string;
  readonly level?: string;
  readonly dsn?: string;
  readonly run?: readonly string[];
  readonly set?: readonly string[];
}

/** As `source add` has them; `false`: cleared. */
export interface SetOptions extends Omit<
  AddOptions,
  'host' | 'type' | 'compression' | 'exclude' | 'include' | 'before' | 'after'
> {
  readonly exclude?: readonly string[] | false;
  readonly include?: readonly string[] | false;
  readonly before?: readonly string[] | false;
  readonly after?: readonly string[] | false;
  readonly compression?: string;
}

/** What `add` and `set` share. */
export function settingOptions(command: Command): Command {
  return command
    .option('--path <dir>', 'absolute directory or file; may be repeated', repeated)
    .option('--exclude <pattern>', 'leave out, in gitignore syntax; may be repeated', repeated)
    .option('--include <pattern>', 'bring back what an exclude would drop; may be repeated', repeated)
    .option('--one-file-system', 'stay on the file system of each path')
    .option('--exclude-caches', 'leave out the contents of directories with a CACHEDIR.TAG')
    .option('--continuous', 'watch for changes and back up soon after them')
    .option('--scan-every <seconds>', 'seconds between the scans of a continuous source')
    .option('--before <word>', 'program to run before a backup, absolute, and its arguments; one word each', repeated)
    .option('--after <word>', 'program to run after a backup, likewise', repeated)
    .option('--hook-timeout <seconds>', 'how long a hook may take')
    .option('--require-before', 'fail the backup when --before fails, instead of warning')
    .option('--limit <rate>', 'send no faster than this, as 10MiB/s')
    .option('--level <number>', 'level of the compression');
}

/** How `set` takes a setting away. */
export function clearingOptions(command: Command): Command {
  return command
    .option('--no-exclude', 'leave nothing out any more')
    .option('--no-include', 'bring nothing back any more')
    .option('--no-one-file-system', 'cross into other file systems again')
    .option('--no-exclude-caches', 'take cache directories whole again')
    .option('--no-continuous', 'back up only when asked to')
    .option('--no-before', 'run no program before a backup')
    .option('--no-after', 'run no program after a backup')
    .option('--no-require-before', 'only warn when --before fails');
}

/** Pure: the request behind the options. Throws USAGE. */
export function addRequest(name: string, options: AddOptions): Pick<AddSourceRequest, 'host' | 'spec'> {
  const hooks = options.before !== undefined || options.after !== undefined;
  return {
    host: options.host,
    spec: {
      sourceId: '',
      name,
      type:
        options.type === 'files'
          ? { $case: 'files', value: filesSource(options) }
          : { $case: 'engine', value: engineSource(options) },
      hooks: hooks
        ? {
            before: [...(options.before ?? [])],
            after: [...(options.after ?? [])],
            timeoutSeconds: wholeNumber(options.hookTimeout, '--hook-timeout'),
            requireBefore: options.requireBefore === true,
          }
        : undefined,
      limitBytesPerSecond: rateOrNone(options.limit),
      compression: compressionOf(options.compression, options.level),
    },
  };
}

function filesSource(options: AddOptions): FilesSource {
  const paths = options.path ?? [];
  checkPaths(paths);
  const alien = (['dsn', 'run', 'set'] as const).find((option) => options[option] !== undefined);
  if (alien !== undefined) {
    throw new HoldfastError('USAGE', `--${alien} is not for file trees`, {
      hint: `Name the --type: ${SOURCE_TYPES.filter((type) => type !== 'files').join(', ')}.`,
    });
  }
  return {
    paths: [...paths],
    excludes: [...(options.exclude ?? [])],
    includes: [...(options.include ?? [])],
    oneFileSystem: options.oneFileSystem === true,
    excludeCaches: options.excludeCaches === true,
    continuous: options.continuous === true,
    scanEverySeconds: wholeNumber(options.scanEvery, '--scan-every'),
  };
}

/** Pure: the fields behind the options that were given, and their values. Throws USAGE. */
export function setRequest(options: SetOptions): Pick<SetSourceRequest, 'spec' | 'fields'> {
  const spec = SourceSpec.fromPartial({});
  const files = FilesSource.fromPartial({});
  const hooks = Hooks.fromPartial({});
  const fields: string[] = [];
  const take = <T>(given: T | undefined, field: string, put: (value: T) => void): void => {
    if (given === undefined) return;
    fields.push(field);
    put(given);
  };
  if (options.path !== undefined) checkPaths(options.path);
  take(options.path, 'paths', (paths) => (files.paths = [...paths]));
  take(options.exclude, 'excludes', (patterns) => (files.excludes = [...(patterns || [])]));
  take(options.include, 'includes', (patterns) => (files.includes = [...(patterns || [])]));
  take(options.oneFileSystem, 'one_file_system', (on) => (files.oneFileSystem = on));
  take(options.excludeCaches, 'exclude_caches', (on) => (files.excludeCaches = on));
  take(options.continuous, 'continuous', (on) => (files.continuous = on));
  take(options.scanEvery, 'scan_every_seconds', (text) => {
    files.scanEverySeconds = wholeNumber(text, '--scan-every');
  });
  const settings = engineSettings({ type: '', dsn: options.dsn, run: options.run, set: options.set });
  if (fields.length > 0 && settings.length > 0) {
    throw new HoldfastError('USAGE', 'settings of a file tree and of an engine do not go together', {
      hint: '--dsn, --run and --set are for databases and other engines.',
    });
  }
  if (fields.length > 0) spec.type = { $case: 'files', value: files };
  if (settings.length > 0) {
    fields.push('settings');
    spec.type = { $case: 'engine', value: EngineSource.fromPartial({ settings }) };
  }

  take(options.before, 'before', (words) => (hooks.before = [...(words || [])]));
  take(options.after, 'after', (words) => (hooks.after = [...(words || [])]));
  take(options.hookTimeout, 'timeout_seconds', (text) => (hooks.timeoutSeconds = wholeNumber(text, '--hook-timeout')));
  take(options.requireBefore, 'require_before', (on) => (hooks.requireBefore = on));
  spec.hooks = hooks;
  take(options.limit, 'limit_bytes_per_second', (text) => (spec.limitBytesPerSecond = rateOrNone(text)));
  if (options.level !== undefined && options.compression === undefined)
    throw new HoldfastError('USAGE', '--level goes with --compression', { hint: 'Name the codec, too.' });
  take(options.compression, 'compression', (codec) => (spec.compression = compressionOf(codec, options.level)));
  if (fields.length === 0) {
    throw new HoldfastError('USAGE', 'nothing is to be changed', { hint: 'See: holdfast source set --help' });
  }
  return { spec, fields };
}

function checkPaths(paths: readonly string[]): void {
  const relative = paths.find((path) => !path.startsWith('/'));
  if (paths.length > 0 && relative === undefined) return;
  const what = relative === undefined ? 'a files source needs a path' : `the path "${relative}" is not absolute`;
  throw new HoldfastError('USAGE', what, {
    hint: 'Give --path with an absolute directory on the host, as in --path /srv/site.',
  });
}

function rateOrNone(text: string | undefined): bigint {
  return text === undefined || text === 'none' ? 0n : BigInt(parseRate(text));
}

function compressionOf(codec: string, level: string | undefined): NonNullable<SourceSpec['compression']> {
  if (!['zstd', 'lz4', 'none'].includes(codec)) {
    throw new HoldfastError('USAGE', `there is no compression "${codec}"`, { hint: 'Use zstd, lz4 or none.' });
  }
  return { codec, level: wholeNumber(level, '--level') };
}

function wholeNumber(text: string | undefined, option: string): number {
  const value = Number(text ?? 0);
  if (Number.isInteger(value) && value >= 0 && value <= 0x7fffffff) return value;
  throw new HoldfastError('USAGE', `${option} ${text} is not a whole number`);
}
