// Reading a stored log under a log grant: lists of pieces, and pieces.
//
// Hazard: a host that asks for another source's log, or for what lies outside its grant's bounds (every piece is looked up by source
// and bounds, whoever knows its id); one that asks for much and reads nothing (one piece is read at a time, and one ahead).
//
// Tested in log-read.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES } from '@holdfast/shared/format/envelope';
import { sameStream, type LogEnd, type LogRange, type LogStream } from '@holdfast/shared/format/log-point';

import type { ListedLog, LogReadAnswer, LogReadStream } from './contract.ts';
import type { OpenLogGrant } from './grant.ts';
import { headsOf, loadRuns, segmentOf, type SegmentRow } from './log-rows.ts';
import type { ObjectPlace, Queries } from './object-index.ts';
import type { PlacedObject, ReadOutcome } from './object-reader.ts';

export const LOG_FETCH_MAX = 64;
const PAGE = 500;

export interface LogReadDeps {
  readonly pool: Queries;
  readonly locate: (ids: readonly Buffer[]) => Promise<Map<string, ObjectPlace>>;
  readonly readRange: (range: readonly PlacedObject[]) => Promise<ReadOutcome[]>;
  readonly damaged: (object: PlacedObject) => Promise<void>;
}

export class GrantedLogRead implements LogReadStream {
  readonly #grant: OpenLogGrant;
  readonly #deps: LogReadDeps;

  constructor(grant: OpenLogGrant, deps: LogReadDeps) {
    this.#grant = grant;
    this.#deps = deps;
  }

  async ends(): Promise<readonly LogEnd[]> {
    const heads = headsOf(await loadRuns(this.#deps.pool, this.#grant.sourceId));
    return heads.filter(({ stream }) => this.#grant.bounds.some((bound) => sameStream(bound.stream, stream)));
  }

  async list(wanted: {
    readonly stream: LogStream;
    readonly start: bigint;
    readonly end: bigint | undefined;
    readonly withoutFiles: boolean;
  }): Promise<ListedLog> {
    const bound = this.#grant.bounds.find((one) => sameStream(one.stream, wanted.stream));
    if (bound === undefined) throw new HoldfastError('NOT_ALLOWED', 'the grant does not reach this stream of the log');
    const from = wanted.start > bound.from ? wanted.start : bound.from;
    const to = wanted.end !== undefined && wanted.end < bound.to ? wanted.end : bound.to;
    const { rows } = await this.#deps.pool.query<SegmentRow>(
      `select * from log_segment
       where source_id = $1 and system_identifier = $2 and timeline = $3 and superseded_at is null
         and ((file = '' and end_order > $4 and start_order < $5) or (file <> '' and not $6))
       order by file <> '' desc, start_order, end_order limit $7`,
      [
        this.#grant.sourceId,
        wanted.stream.systemIdentifier,
        wanted.stream.timeline,
        from,
        to,
        wanted.withoutFiles,
        PAGE + 1,
      ],
    );
    const segments = rows.slice(0, PAGE).map((row) => {
      const { objectId, range, lengthBytes } = segmentOf(row);
      return { id: objectId, range, lengthBytes };
    });
    return { segments, last: rows.length <= PAGE };
  }

  async *fetch(ids: readonly Uint8Array[]): AsyncGenerator<LogReadAnswer> {
    if (ids.length > LOG_FETCH_MAX || ids.some((id) => id.length !== ID_BYTES)) {
      throw new HoldfastError('PROTOCOL_VIOLATION', 'the agent asked for log segments that cannot be');
    }
    const wanted = ids.map((id) => Buffer.from(id));
    const reached = await this.#reached(wanted);
    const places = await this.#deps.locate(wanted);
    let ahead: Promise<LogReadAnswer> | undefined;
    for (const [index, id] of wanted.entries()) {
      const answer = ahead ?? this.#read(id, reached, places);
      const next = wanted[index + 1];
      ahead = next === undefined ? undefined : this.#read(next, reached, places);
      // It is looked at in its turn, or never when nobody reads on.
      ahead?.catch(() => undefined);
      yield await answer;
    }
  }

  /** Hex ids that the grant reaches. A piece that a merged one replaced meanwhile was listed before, so it still counts. */
  async #reached(ids: readonly Buffer[]): Promise<Set<string>> {
    const { rows } = await this.#deps.pool.query<SegmentRow>(
      'select * from log_segment where source_id = $1 and object_id = any($2::bytea[])',
      [this.#grant.sourceId, ids],
    );
    const within = rows.map(segmentOf).filter(({ range }) => this.#isWithin(range));
    return new Set(within.map(({ objectId }) => objectId.toString('hex')));
  }

  #isWithin({ stream, start, end, file }: LogRange): boolean {
    return this.#grant.bounds.some(
      (bound) =>
        sameStream(bound.stream, stream) && (file !== '' || (end.order > bound.from && start.order < bound.to)),
    );
  }

  async #read(
    id: Buffer,
    reached: ReadonlySet<string>,
    places: ReadonlyMap<string, ObjectPlace>,
  ): Promise<LogReadAnswer> {
    const hex = id.toString('hex');
    if (!reached.has(hex)) throw new HoldfastError('NOT_ALLOWED', 'the grant does not reach this log segment');
    const place = places.get(hex);
    if (place === undefined) return { kind: 'notServed', id, reason: 'missing', message: 'the vault does not have it' };
    const [outcome] = await this.#deps.readRange([{ id, place }]);
    if (outcome!.ok) return { kind: 'segment', id, envelope: outcome!.envelope };
    await this.#deps.damaged({ id, place });
    return { kind: 'notServed', id, reason: outcome!.reason, message: outcome!.message };
  }
}
