// Which snapshot the user means: `host/source` (the newest one, or that of --snapshot or --at), or the beginning of an id.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { GetSnapshotResponse, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { idPrefixBytes, idText, isIdPrefix, shortId } from '../words/names.ts';
import { parseTime } from '../words/times.ts';
import type { Session } from './session.ts';

export interface SelectionOptions {
  readonly snapshot?: string;
  readonly at?: string;
}

/** What to ask the controller for; see GetSnapshotRequest. */
export interface Selection {
  readonly source: string;
  readonly snapshotId: Buffer;
  readonly atMs: bigint;
  /** The id as typed, to hold an odd last digit against. */
  readonly typedId: string;
}

/** Pure: the request behind an argument and its options. Throws USAGE when they contradict each other. */
export function selectionOf(argument: string, options: SelectionOptions = {}): Selection {
  if (options.snapshot !== undefined && options.at !== undefined) {
    throw new HoldfastError('USAGE', '--snapshot and --at exclude each other', { hint: 'Give one of them.' });
  }
  const byId = !argument.includes('/') && isIdPrefix(argument);
  if (byId && (options.snapshot !== undefined || options.at !== undefined)) {
    throw new HoldfastError('USAGE', `${argument} names a snapshot already`, {
      hint: 'Name the source as HOST/SOURCE to choose with --snapshot or --at.',
    });
  }
  const typedId = byId ? argument : (options.snapshot ?? '');
  return {
    source: byId ? '' : snapshotSource(argument),
    snapshotId: typedId === '' ? Buffer.alloc(0) : idPrefixBytes(typedId),
    atMs: options.at === undefined ? 0n : BigInt(parseTime(options.at)),
    typedId: typedId.toLowerCase(),
  };
}

/** The source of a snapshot that is named by it. Throws USAGE, for the beginning of an id too where it is too short. */
function snapshotSource(argument: string): string {
  if (argument.includes('/')) return sourceName(argument);
  throw new HoldfastError('USAGE', `"${argument}" is neither a source nor a snapshot id`, {
    hint: 'Give HOST/SOURCE for its newest snapshot, or at least 8 digits of an id: `holdfast snapshot ls HOST/SOURCE` shows them.',
  });
}

/** `host/source`, checked for its shape. Throws USAGE. */
export function sourceName(argument: string): string {
  if (!/^[^/\s]+\/[^/\s]+$/.test(argument)) {
    throw new HoldfastError('USAGE', `"${argument}" is not a source`, {
      hint: 'Name a source as HOST/SOURCE; `holdfast source ls` lists them.',
    });
  }
  return argument;
}

/** The chosen snapshot with its warnings, asked of the controller. */
export async function selectSnapshot(session: Session, selection: Selection): Promise<Selected> {
  const operator = await session.operator();
  const { source, snapshotId, atMs } = selection;
  const answer = await operator.getSnapshot({ domain: await session.domain(), source, snapshotId, atMs });
  const snapshot = answer.snapshot;
  if (snapshot === undefined || !idText(snapshot.id).startsWith(selection.typedId)) {
    throw new HoldfastError('NOT_FOUND', `there is no snapshot ${selection.typedId}${source && ` of ${source}`}`, {
      hint: 'See `holdfast snapshot ls HOST/SOURCE`.',
    });
  }
  return { snapshot, warnings: answer.warnings };
}

export interface Selected {
  readonly snapshot: SnapshotInfo;
  readonly warnings: GetSnapshotResponse['warnings'];
}

/** The snapshot before this one of the same source. Throws NOT_FOUND for the first. */
export async function predecessorOf(session: Session, snapshot: SnapshotInfo): Promise<SnapshotInfo> {
  const operator = await session.operator();
  const { snapshots } = await operator.listSnapshots({ domain: await session.domain(), source: snapshot.source });
  const before = snapshots.find((candidate) => candidate.sequence < snapshot.sequence);
  if (before === undefined) {
    throw new HoldfastError('NOT_FOUND', `${shortId(snapshot.id)} is the first snapshot of ${snapshot.source}`, {
      hint: 'Name two snapshots, or back up again first.',
    });
  }
  return before;
}
