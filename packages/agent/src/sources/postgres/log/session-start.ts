// The beginning of following a log: the slot is there, it is known where to go on, and what can't be had any more is recorded.
//
// Invariants (guard.db.test.ts): G3 a gap is stored before anything that lies behind it.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { sameStream, type LogEnd, type LogGap, type LogStream } from '@holdfast/shared/format/log-point';
import { parseHistoryFile } from './history-file.ts';
import { rangeOfHistory } from './log-ranges.ts';
import type { LogTail } from './log-tail.ts';
import { fileStart, WAL_PAGE_BYTES } from './lsn.ts';
import type { FollowerDeps } from './follower-deps.ts';
import type { ServerLook } from './slot-watch.ts';
import { planStart } from './start-plan.ts';
import type { VaultWriter } from './vault-writer.ts';

export interface SessionStart {
  readonly stream: LogStream;
  /** Where storing begins. */
  readonly from: bigint;
  /** Of the slot: what is after it is kept for us, and may be read again. */
  readonly slotStart: bigint;
  readonly fileBytes: number;
  readonly standby: boolean;
  readonly statusMs: number;
  /** What is stored of the stream up to `from`, without a gap; undefined: nothing. */
  readonly goesOn: LogEnd | undefined;
}

const STATUS_MS = 10_000;
/** Read again before the place to go on from, so that the record which goes on there is known. */
const READ_BACK_BYTES = 128 * 1024;

/** Throws FAILED_PRECONDITION, UNREACHABLE when it can't begin now. */
export async function beginSession(deps: FollowerDeps): Promise<SessionStart> {
  const { connection, session, writer, notes } = deps;
  const look = await ensureSlot(deps);
  const slotStart = look.slot?.restart;
  if (slotStart === undefined) throw new HoldfastError('UNREACHABLE', `the slot ${deps.slotName} reserves nothing yet`);
  const identity = await connection.identify();
  const text = identity.timeline > 1 ? await connection.history(identity.timeline) : '';
  const { fileBytes, standby, senderTimeoutMs } = look;
  const server = { ...identity, history: parseHistoryFile(text), fileBytes, slotStart, standby };
  if (deps.signal.aborted) throw toHoldfastError(deps.signal.reason);
  const plan = planStart(server, session.ends, deps);
  // A standby that was restarted replays for a while what it had; a server that went back needs a person.
  if (plan.kind === 'wait') throw new HoldfastError(standby ? 'UNREACHABLE' : 'FAILED_PRECONDITION', plan.note);
  const { stream, from } = plan;
  const now = look.clockMs ?? deps.clock.wallMs();
  const gap: LogGap | undefined = plan.gap === undefined ? undefined : { ...plan.gap, toMs: Math.floor(now) };
  if (gap !== undefined) {
    await writer.gap(gap);
    notes.gap(gap.stream, gap.start.order, gap.end.order);
    const { start, end, reason } = gap;
    deps.log.error('postgres.gap', { sourceId: deps.sourceId, from: start.text, to: end.text, reason });
  }
  const known = session.ends.find((end) => sameStream(end.stream, stream));
  if (known === undefined && stream.timeline === identity.timeline) storeHistory(writer, stream, text);
  const goesOn = gap === undefined && known?.end.order === from ? known : undefined;
  if (goesOn !== undefined) notes.stored(stream, from);
  deps.state.notes.follow = plan.note;
  deps.began({ stream, from, baseNeeded: plan.baseNeeded || gap !== undefined || session.baseNeeded, gap });
  const statusMs = senderTimeoutMs > 0 ? Math.min(STATUS_MS, senderTimeoutMs / 4) : STATUS_MS;
  return { stream, from, slotStart, fileBytes, standby, statusMs, goesOn };
}

/** What was kept of the log before the place to go on from, where the server surely has it; undefined: nothing. */
export function tailBefore({ stream, slotStart, fileBytes, goesOn }: SessionStart, tail: LogTail | undefined) {
  if (tail === undefined || goesOn === undefined || !sameStream(tail.stream, stream)) return undefined;
  const isStored = tail.start >= goesOn.start.order && tail.end <= goesOn.end.order;
  return isStored && pageStart(tail.start) >= fileStart(slotStart, fileBytes) ? tail : undefined;
}

/** Somewhat before the place to go on from, as far as the server surely has it, and before the tail by which it is known. */
export function readFromOf({ from, slotStart, fileBytes, goesOn }: SessionStart, tail: LogTail | undefined): bigint {
  if (goesOn === undefined) return fileStart(from, fileBytes);
  const back = pageStart(from) - BigInt(READ_BACK_BYTES);
  const before = fileStart(from - 1n, fileBytes);
  const begin = before < fileStart(slotStart, fileBytes) ? fileStart(from, fileBytes) : before;
  const readFrom = back < begin ? begin : back;
  const known = tail === undefined ? readFrom : pageStart(tail.start);
  return known < readFrom ? known : readFrom;
}

function pageStart(lsn: bigint): bigint {
  return lsn - (lsn % BigInt(WAL_PAGE_BYTES));
}

/** @param text '' on the first timeline, which has no history */
export function storeHistory(writer: VaultWriter, stream: LogStream, text: string): void {
  if (text === '') return;
  const range = rangeOfHistory(stream, text);
  writer.write({ range: () => range, content: Buffer.from(text), heldBytes: 0, stored: () => undefined });
}

/** Ours, with its log reserved. One that the server gave up, or that claims to keep what is gone, is made anew. */
async function ensureSlot(deps: FollowerDeps): Promise<ServerLook> {
  const { connection, slotName, removed } = deps;
  const seen = await deps.look();
  const { restart } = seen.slot ?? {};
  const keeps = restart !== undefined && seen.slot?.walStatus !== 'lost';
  if (
    keeps &&
    (removed === undefined || removed.isOther === true || fileStart(restart, seen.fileBytes) >= removed.before)
  )
    return seen;
  if (seen.slot !== undefined) await connection.dropSlot(slotName);
  await connection.createSlot(slotName);
  return deps.look();
}
