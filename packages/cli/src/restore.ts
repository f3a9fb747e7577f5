// `holdfast restore`: bring a snapshot, or some paths of it, to a directory on a host.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { RecoveryTarget } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import type { StartRestoreRequest } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { Setting } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { runJob } from './jobs/run-job.ts';
import { selectionOf, selectSnapshot, type Selection } from './session/selection.ts';
import { repeated } from './session/repeated-option.ts';
import type { Session } from './session/session.ts';
import { typedPath } from './words/names.ts';
import { parseRate } from './words/sizes.ts';

interface RestoreOptions {
  readonly to?: string;
  readonly snapshot?: string;
  readonly at?: string;
  readonly path?: readonly string[];
  readonly delta?: boolean;
  readonly deleteExtra?: boolean;
  readonly dryRun?: boolean;
  readonly intoNonEmpty?: boolean;
  readonly setuid?: boolean;
  readonly limit?: string;
  readonly verify?: boolean;
  readonly lsn?: string;
  readonly name?: string;
  readonly gtid?: string;
  readonly start?: boolean;
  readonly port?: string;
  readonly option?: readonly string[];
}

export function define(program: Command, session: Session): void {
  program
    .command('restore')
    .description('bring a snapshot, or some paths of it, to a host')
    .argument('<source>', 'HOST/SOURCE for its newest snapshot, or a snapshot id')
    .argument('[paths...]', 'only these paths, from the root of the source')
    .option('--to <host:dir>', 'where to: a host and an absolute directory on it, made when missing')
    .option('--snapshot <id>', 'this snapshot (the beginning of its id)')
    .option('--at <time>', 'the newest snapshot at that time, as "2026-11-22 10:00"; a database: exactly that time')
    .option('--lsn <position>', 'a database: up to this position of its log')
    .option('--name <point>', 'a database: up to this named restore point')
    .option('--gtid <gtid>', 'a database: up to and including this transaction')
    .option('--start', 'a database: start it in the directory, on a private socket, and leave it running')
    .option('--port <number>', 'with --start: the port that names its socket')
    .option('--option <name=value>', 'a database: tablespace.OID=/path, …; may be repeated', repeated)
    .option('--path <path>', 'only this path; may be repeated', repeated)
    .option('--delta', 'the directory holds an older state: fetch and write only what differs')
    .option('--delete-extra', 'with --delta: remove what the snapshot does not have')
    .option('--dry-run', 'say what would be done, write nothing')
    .option('--into-non-empty', 'restore into a directory that has something in it')
    .option('--setuid', 'bring back setuid and setgid bits and file capabilities')
    .option('--limit <rate>', 'read no faster than this, as 10MiB/s')
    .option('--verify', 'read and check all that would be restored, write nothing')
    .addHelpText('after', HELP)
    .action(async (argument: string, paths: string[], options: RestoreOptions) => {
      await restore(session, argument, { ...options, path: [...(options.path ?? []), ...paths] });
    });
}

async function restore(session: Session, argument: string, options: RestoreOptions): Promise<void> {
  const selection = selectionOf(argument, options);
  const paths = (options.path ?? []).map(typedPath);
  if (options.verify === true) return await verifyOnly(session, selection, argument, { paths, to: options.to });
  const to = destinationOf(options.to);
  const limitBytesPerSecond = options.limit === undefined ? 0n : BigInt(parseRate(options.limit));
  if (options.deleteExtra === true && options.delta !== true) {
    throw new HoldfastError('USAGE', '--delete-extra goes with --delta', { hint: 'Add --delta, or leave it out.' });
  }
  const database = databaseRestore(options);
  await runJob(session, {
    subject: { kind: 'restore', source: selection.source || argument, dryRun: options.dryRun === true },
    start: async () => {
      const chosen = await pinned(session, selection);
      return (await session.operator()).startRestore({
        domain: await session.domain(),
        source: chosen.source,
        snapshotId: chosen.snapshotId,
        atMs: chosen.atMs,
        toHost: to.host,
        target: to.directory,
        paths,
        delta: options.delta === true,
        dryRun: options.dryRun === true,
        intoNonEmpty: options.intoNonEmpty === true,
        setuid: options.setuid === true,
        deleteExtra: options.deleteExtra === true,
        limitBytesPerSecond,
        ...database,
      });
    },
  });
}

/** Pure: what a database is told besides. Throws USAGE. */
export function databaseRestore(
  options: Pick<RestoreOptions, 'at' | 'snapshot' | 'lsn' | 'name' | 'gtid' | 'start' | 'port' | 'option'>,
): Pick<StartRestoreRequest, 'start' | 'port' | 'options'> & { point?: RecoveryTarget } {
  const { lsn, name, gtid } = options;
  const named = Object.entries({ '--at': options.at, '--lsn': lsn, '--name': name, '--gtid': gtid });
  const given = named.flatMap(([option, value]) => (value === undefined ? [] : [option]));
  if (given.length > 1) {
    throw new HoldfastError('USAGE', `${given.join(' and ')} name two points`, { hint: 'Give one of them.' });
  }
  const port = Number(options.port ?? 0);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new HoldfastError('USAGE', `${options.port} is not a port`);
  }
  if (port > 0 && options.start !== true) {
    throw new HoldfastError('USAGE', '--port goes with --start', { hint: 'Add --start, or leave it out.' });
  }
  const point: RecoveryTarget['kind'] =
    lsn !== undefined
      ? { $case: 'position', value: lsn }
      : name !== undefined
        ? { $case: 'name', value: name }
        : gtid !== undefined
          ? { $case: 'gtid', value: gtid }
          : undefined;
  return {
    start: options.start === true,
    port,
    options: (options.option ?? []).map(settingOf),
    ...(point === undefined ? {} : { point: { kind: point } }),
  };
}

function settingOf(word: string): Setting {
  const at = word.indexOf('=');
  if (at < 1) throw new HoldfastError('USAGE', `"${word}" is not an option`, { hint: 'Write --option name=value.' });
  return { name: word.slice(0, at), value: word.slice(at + 1) };
}

/** A bare id says nothing of its source, and a restore names one. */
async function pinned(session: Session, selection: Selection): Promise<Selection> {
  if (selection.typedId === '') return selection;
  const { snapshot } = await selectSnapshot(session, selection);
  return { ...selection, source: snapshot.source, snapshotId: Buffer.from(snapshot.id), atMs: 0n };
}

async function verifyOnly(
  session: Session,
  selection: Selection,
  argument: string,
  options: { readonly paths: readonly Buffer[]; readonly to: string | undefined },
): Promise<void> {
  const onHost = options.to === undefined ? '' : (options.to.split(':')[0] ?? '');
  await runJob(session, {
    subject: { kind: 'verify', source: selection.source || argument },
    start: async () => {
      const { source, snapshotId, atMs } = await pinned(session, selection);
      return (await session.operator()).startVerify({
        domain: await session.domain(),
        source,
        snapshotId,
        atMs,
        onHost,
        paths: [...options.paths],
      });
    },
  });
}

/** "web-2:/srv/again". Throws USAGE. */
export function destinationOf(text: string | undefined): { readonly host: string; readonly directory: string } {
  const match = /^([^:/\s]+):(\/.*)$/s.exec(text ?? '');
  if (match === null) {
    const what = text === undefined ? 'a restore needs to know where to' : `"${text}" is not a host and a directory`;
    throw new HoldfastError('USAGE', what, {
      hint: 'Write --to HOST:DIR with an absolute directory, as in --to web-2:/srv/site.',
    });
  }
  return { host: match[1]!, directory: match[2]! };
}

const HELP = `
Without --snapshot or --at the newest snapshot is restored. Paths are named
from the root of the source, as \`holdfast snapshot show\` lists them; \\xNN
stands for a byte that is not text.

A database comes back from its newest base and its log: the newest point that
is stored, or the one that --at, --lsn, --name or --gtid names; with
--snapshot the snapshot alone. With --start it is left running, and how to
reach it is printed.

Examples:
  holdfast restore web-1/site --to web-2:/srv/again
  holdfast restore web-1/db --to web-2:/srv/pg --at "2026-11-22 10:00" --start --port 5502
  holdfast restore web-1/site --to web-1:/srv/site --delta --delete-extra
  holdfast restore web-1/site conf/nginx.conf --at "2026-11-22 10:00" --to web-1:/root/old
  holdfast restore 3f2a9c01 --to web-2:/srv/again --dry-run
  holdfast restore web-1/site conf --verify
`;
