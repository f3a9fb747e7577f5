// Timeline history files: from which timelines a timeline comes, and where it left each. Pure.
//
// Source: PostgreSQL's readTimeLineHistory (src/backend/access/transam/timeline.c): one line for each ancestor, oldest first,
// "parent<TAB>switchpoint<TAB>reason"; lines that begin with # are comments.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogFork } from '@holdfast/shared/format/log-point';
import { parseLsn, positionOf } from './lsn.ts';

export interface TimelineFork {
  readonly parentTimeline: number;
  /** What the timeline has in common with its parent ends here. */
  readonly switchpoint: bigint;
  readonly reason: string;
}

const LINE = /^\s*(\d{1,10})\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)\s*(.*)$/;
/** What a LogRange may say; a cluster with more promotions keeps the newest ones. */
const ANCESTORS_MAX = 64;

/** Oldest first, as in the file. Throws DAMAGED for a line that is none, or timelines that don't grow. */
export function parseHistoryFile(text: string): TimelineFork[] {
  const forks: TimelineFork[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    const match = LINE.exec(line);
    if (match === null) throw new HoldfastError('DAMAGED', `a timeline's history has a line that is none: ${line}`);
    const parentTimeline = Number(match[1]);
    if (parentTimeline <= (forks.at(-1)?.parentTimeline ?? 0)) {
      throw new HoldfastError('DAMAGED', `a timeline's history goes back to timeline ${parentTimeline}`);
    }
    forks.push({ parentTimeline, switchpoint: parseLsn(match[2]!), reason: match[3]!.trim() });
  }
  return forks;
}

/** The parent first, as a LogRange says it. */
export function ancestorsOf(systemIdentifier: string, forks: readonly TimelineFork[]): LogFork[] {
  return forks
    .toReversed()
    .slice(0, ANCESTORS_MAX)
    .map(({ parentTimeline, switchpoint }) => ({
      parent: { systemIdentifier, timeline: parentTimeline },
      position: positionOf(switchpoint),
    }));
}
