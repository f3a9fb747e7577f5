// What a verify of several snapshots says of each of them, and of all together. Pure.

import type { VerifiedSnapshot } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { idText, shortId } from '../words/names.ts';
import { counted, formatCount, formatSize } from '../words/sizes.ts';
import { formatTable } from '../words/tables.ts';
import { formatTime, isoTime } from '../words/times.ts';

export interface VerifiedFields {
  readonly snapshot: string;
  readonly sequence: number;
  readonly committedAt: string | null;
  readonly entries: number;
  readonly files: number;
  readonly bytesTotal: number;
  /** Damaged or missing, of those that the snapshot needs. */
  readonly damagedObjects: number;
  /** A host opened it too, entry by entry; else its stored objects were read and held against their ids. */
  readonly opened: boolean;
}

export function verifiedFields(snapshot: VerifiedSnapshot): VerifiedFields {
  return {
    snapshot: idText(snapshot.snapshotId),
    sequence: Number(snapshot.sequence),
    committedAt: isoTime(Number(snapshot.committedAtMs)),
    entries: Number(snapshot.entries),
    files: Number(snapshot.files),
    bytesTotal: Number(snapshot.bytesTotal),
    damagedObjects: Number(snapshot.damagedObjects),
    opened: snapshot.opened,
  };
}

/** A line for each, newest last, and the sum. Empty for one snapshot, which the summary is about anyway. */
export function verifiedWords(snapshots: readonly VerifiedSnapshot[]): string {
  if (snapshots.length < 2) return '';
  const rows = snapshots.map((snapshot) => [
    shortId(snapshot.snapshotId),
    formatTime(Number(snapshot.committedAtMs)),
    formatCount(Number(snapshot.files)),
    formatSize(Number(snapshot.bytesTotal)),
    verdict(snapshot),
  ]);
  const table = formatTable(
    [
      { title: 'SNAPSHOT' },
      { title: 'COMMITTED' },
      { title: 'FILES', align: 'right' },
      { title: 'SIZE', align: 'right' },
      { title: 'VERDICT' },
    ],
    rows,
  );
  const damaged = snapshots.filter(({ damagedObjects }) => damagedObjects > 0n).length;
  const sum = `${counted(snapshots.length, 'snapshot')}: ${formatCount(snapshots.length - damaged)} whole, ${formatCount(damaged)} damaged`;
  return `${table}${sum}\n`;
}

function verdict({ damagedObjects, opened }: VerifiedSnapshot): string {
  if (damagedObjects > 0n) return `damaged: ${counted(Number(damagedObjects), 'object')}`;
  return opened ? 'whole, and opened' : 'whole';
}
