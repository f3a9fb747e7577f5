// How warm a standby is, for people and for readiness. Pure.
//
// Tested in warm-facts.test.ts.

import type { WarmWish } from './due.ts';
import type { WarmCopyRow } from './warm-rows.ts';

export interface WarmFact {
  /** warning: a failover would take longer. ok: it would not. */
  readonly level: 'warning' | 'ok';
  /** host/source. */
  readonly subject: string;
  readonly message: string;
  readonly remedy: string;
}

/** A host that says nothing for so long says nothing any more. */
const SILENT_MS = 60_000;

/** @param sourceName host/source, for a copy that was never begun */
export function warmFact(wish: WarmWish, copy: WarmCopyRow | undefined, sourceName: string, nowMs: number): WarmFact {
  const subject = copy?.sourceName ?? sourceName;
  const cold = (message: string, remedy = ''): WarmFact => ({ level: 'warning', subject, message, remedy });
  if (wish.newest === '')
    return cold('there is no snapshot yet that a copy could be made of', `holdfast backup ${subject}`);
  if (copy === undefined || copy.hostId !== wish.hostId) return cold('its warm copy was not begun yet');
  const failed = copy.error === '' ? '' : `: ${copy.error}`;
  if (copy.failures > 0)
    return cold(`its warm copy on ${copy.hostName} is not brought on${failed}`, `holdfast job ls ${subject}`);
  if (copy.applied === '') return cold(`its warm copy on ${copy.hostName} is being made`);
  if (copy.kind === 'files') {
    if (copy.applied === wish.newest) return ok(subject, `its warm copy on ${copy.hostName} is the newest snapshot`);
    return cold(`its warm copy on ${copy.hostName} is being brought to the newest snapshot`);
  }
  if (copy.state === 'broken') return cold(`its warm copy on ${copy.hostName} stands still: ${copy.note}`);
  if (copy.reportedAt === null || nowMs - copy.reportedAt.getTime() > SILENT_MS) {
    return cold(
      `nobody knows how far its warm copy on ${copy.hostName} is`,
      `Is the agent of ${copy.hostName} running?`,
    );
  }
  const note = copy.note === '' ? '' : ` (${copy.note})`;
  if (note !== '') return cold(`its warm copy on ${copy.hostName} does not go on${note}`);
  return ok(subject, `its warm copy on ${copy.hostName} replays the log`);
}

function ok(subject: string, message: string): WarmFact {
  return { level: 'ok', subject, message, remedy: '' };
}
