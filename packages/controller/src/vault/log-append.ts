// What makes pieces of a log, and gaps, part of a source's log: one catalog transaction with their bytes and the controller's own
// records durable before its COMMIT.
//
// Hazard: a log that is acknowledged is forgotten by its server. So nothing counts as stored before the piece, its record in the
// packs, and its row are; and a log never has a hole that nobody recorded (log-order.ts). The row in log_writer is the lock: of
// two streams that think they store one log the older is refused (threats 18, 21).
//
// An agent can't delete (I8): a merged piece takes the place of what it covers in every list, but the covered rows and objects
// stay, and whoever collects them later has to leave them time in which a hostile replacement is noticed.
//
// Invariants (log-store.db.test.ts): L1 acknowledged means durable, indexed and recorded; L2 of a failed batch nothing is left,
// in the catalog or in packs; L3 an older stream changes nothing.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { encodeControllerRecord, type LogSegmentRecord } from '@holdfast/shared/format/controller-record';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { checkMerge, headAfterGap, headAfterSegment, type LogHead } from '@holdfast/shared/format/log-order';
import type { LogGap, LogRange } from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';

import type { AppendObjects, DomainWriter } from './domain-writer.ts';
import { hasGapWithin, saveForks, saveGap } from './log-gaps.ts';
import {
  findSame,
  headsOf,
  insertSegments,
  loadRuns,
  lockLogWriter,
  removeRun,
  saveRun,
  segmentsWithin,
  streamKey,
  supersede,
  type LogOwner,
  type NewSegment,
} from './log-rows.ts';
import { pinPresent, type Queries } from './object-index.ts';
import type { StorableObject } from './open-pack.ts';

export type LogItem =
  | { readonly kind: 'segment'; readonly object: StorableObject; readonly range: LogRange }
  | { readonly kind: 'gap'; readonly gap: LogGap };

/** Streams of one source. A server that is reset starts a new one; nobody resets one that often. */
const STREAMS_MAX = 256;

export interface LogAppendDeps {
  readonly writer: DomainWriter;
  readonly systemKeys: DomainKeys;
}

/**
 * Stores items in order, all or none of them. Throws FAILED_PRECONDITION when one does not follow what is stored, SESSION_ENDED
 * when a newer stream has taken over, LIMIT_EXCEEDED.
 * @param stream of `takeLogWriter`
 */
export async function appendToLog(
  owner: LogOwner,
  stream: number,
  items: readonly LogItem[],
  deps: LogAppendDeps,
): Promise<void> {
  await deps.writer.turn(async (client, append) => {
    if (!(await lockLogWriter(client, owner.sourceId, stream))) throw overtaken();
    const heads = new Map(
      headsOf(await loadRuns(client, owner.sourceId)).map((head) => [streamKey(head.stream), head as LogHead]),
    );
    const batch = new LogBatch(client, append, owner, heads, deps.systemKeys, await catalogTimeMs(client));
    for (const item of items) {
      if (item.kind === 'gap') await batch.gap(item.gap);
      else await batch.segment(item.object, item.range);
    }
    await batch.write();
  });
}

export function overtaken(): HoldfastError {
  return new HoldfastError('SESSION_ENDED', 'a newer stream stores this log now', {
    hint: 'One agent stores the log of a source; if two do, one of them is a copy of the other.',
  });
}

class LogBatch {
  readonly #client: Queries;
  readonly #append: AppendObjects;
  readonly #owner: LogOwner;
  readonly #heads: Map<string, LogHead>;
  readonly #keys: DomainKeys;
  readonly #storedAtMs: number;
  readonly #grown = new Map<string, LogHead>();
  readonly #segments: NewSegment[] = [];
  readonly #gaps: { readonly gap: LogGap; readonly recordId: Buffer }[] = [];
  readonly #objects = new Map<string, StorableObject>();

  constructor(
    client: Queries,
    append: AppendObjects,
    owner: LogOwner,
    heads: Map<string, LogHead>,
    keys: DomainKeys,
    storedAtMs: number,
  ) {
    this.#client = client;
    this.#append = append;
    this.#owner = owner;
    this.#heads = heads;
    this.#keys = keys;
    this.#storedAtMs = storedAtMs;
  }

  async segment(object: StorableObject, range: LogRange): Promise<void> {
    // Sent once more because its acknowledgement was lost: it is stored.
    if (!this.#isNew(range) && (await findSame(this.#client, this.#owner.sourceId, object.id, range))) return;
    if (range.file !== '') await this.#replaceFile(range);
    else if (range.merged) await this.#replacePieces(range);
    else {
      this.#grow(headAfterSegment(this.#head(range), range));
      if (range.start.order === range.end.order) await this.#replaceEmpty(range);
    }
    const recordId = this.#record({ kind: 'segment', segmentId: object.id, range });
    this.#objects.set(object.id.toString('hex'), object);
    this.#segments.push({
      objectId: object.id,
      recordId,
      lengthBytes: object.envelope.length,
      range,
      storedAtMs: this.#storedAtMs,
    });
    await this.#forks(range);
  }

  async gap(gap: LogGap): Promise<void> {
    const head = this.#head(gap);
    const next = headAfterGap(head, gap);
    if (head?.gapStart !== undefined && head.gapStart === next.gapStart) {
      await this.#flushRuns();
      await removeRun(this.#client, this.#owner.sourceId, head);
    }
    this.#grow(next);
    this.#gaps.push({ gap, recordId: this.#record({ kind: 'gap', gap }) });
    // The next head of the stream is another run: this one must be written before it is forgotten.
    await this.#flushRuns();
  }

  async write(): Promise<void> {
    const client = this.#client;
    const { domainId, sourceId } = this.#owner;
    const { rows } = await client.query<{ epoch: number }>('select epoch from vault_collection');
    const epoch = rows[0]?.epoch ?? 1;
    const ids = [...this.#objects.values()].map(({ id }) => id);
    const present = await pinPresent(client, domainId, ids, epoch);
    const missing = [...this.#objects].filter(([key]) => !present.has(key)).map(([, object]) => object);
    if (missing.length > 0) await this.#append(missing, epoch);
    await insertSegments(client, this.#owner, this.#segments);
    for (const { gap, recordId } of this.#gaps) await saveGap(client, this.#owner, gap, recordId, this.#storedAtMs);
    await this.#flushRuns();
    if (headsOf(await loadRuns(client, sourceId)).length > STREAMS_MAX) {
      throw new HoldfastError('LIMIT_EXCEEDED', `the source's log has more than ${STREAMS_MAX} streams`);
    }
  }

  /** Without a look at the rows: behind everything that is stored. */
  #isNew(range: LogRange): boolean {
    const head = this.#head(range);
    const behind = head === undefined || range.start.order >= head.end.order;
    return range.file === '' && !range.merged && behind && range.end.order > range.start.order;
  }

  #head({ stream }: { readonly stream: LogRange['stream'] }): LogHead | undefined {
    return this.#heads.get(streamKey(stream));
  }

  #grow(head: LogHead): void {
    const key = streamKey(head.stream);
    this.#heads.set(key, head);
    this.#grown.set(key, head);
  }

  async #flushRuns(): Promise<void> {
    for (const head of this.#grown.values()) await saveRun(this.#client, this.#owner.sourceId, head);
    this.#grown.clear();
  }

  async #forks(range: LogRange): Promise<void> {
    await saveForks(this.#client, this.#owner.sourceId, range.stream, range.ancestors ?? []);
  }

  async #replaceFile(range: LogRange): Promise<void> {
    const copies = await segmentsWithin(this.#client, this.#owner.sourceId, range);
    await supersede(
      this.#client,
      copies.map((copy) => copy.sequence),
    );
  }

  /** Of the empty pieces at one place, by which a quiet database says up to when its log is complete, the newest is enough. */
  async #replaceEmpty(range: LogRange): Promise<void> {
    await insertSegments(this.#client, this.#owner, this.#segments.splice(0));
    await this.#replaceFile(range);
  }

  async #replacePieces(range: LogRange): Promise<void> {
    // Pieces of this very batch must be rows to be replaced.
    await insertSegments(this.#client, this.#owner, this.#segments.splice(0));
    if (await hasGapWithin(this.#client, this.#owner.sourceId, range)) {
      throw new HoldfastError('FAILED_PRECONDITION', 'a merged piece of the log covers a recorded gap');
    }
    const covered = await segmentsWithin(this.#client, this.#owner.sourceId, range);
    checkMerge(
      range,
      covered.map((piece) => ({ start: piece.range.start.order, end: piece.range.end.order })),
    );
    await supersede(
      this.#client,
      covered.map((piece) => piece.sequence),
    );
  }

  #record(content: LogSegmentRecord['content']): Buffer {
    const record: LogSegmentRecord = { kind: 'logSegment', ...this.#owner, storedAtMs: this.#storedAtMs, content };
    const sealed = seal(this.#keys, ObjectKind.controllerRecord, [], encodeControllerRecord(record));
    this.#objects.set(sealed.id.toString('hex'), { ...sealed, kind: ObjectKind.controllerRecord });
    return sealed.id;
  }
}

/** After the lock, so that times of one log rise. */
async function catalogTimeMs(client: Queries): Promise<number> {
  const { rows } = await client.query<{ now: Date }>('select clock_timestamp() as now');
  return rows[0]!.now.getTime();
}
