// One reading stream under one grant: wants in, objects out in the vault's order, read ahead within a window of bytes.
//
// Hazard: a host that asks for what its grant does not reach (checked against the MACs and against the parent's own header),
// and one that asks for much and reads nothing (nothing is read beyond the window).
//
// Tested in read.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, ObjectKind, referencesOf } from '@holdfast/shared/format/envelope';

import { SELF_REFERENCE, type ReadAnswer, type ReadStream, type Want } from './contract.ts';
import { checkServedMac, servedMac, type OpenGrant } from './grant.ts';
import type { ObjectPlace } from './object-index.ts';
import { planRanges, rangeBytes, type PlacedObject, type ReadOutcome } from './object-reader.ts';

export const WANT_MAX_REFERENCES = 4096;

export interface ReadStreamDeps {
  readonly grantKey: Uint8Array;
  readonly readAheadBytes: number;
  readonly locate: (ids: readonly Buffer[]) => Promise<Map<string, ObjectPlace>>;
  readonly readRange: (range: readonly PlacedObject[]) => Promise<ReadOutcome[]>;
  /** References of a node or record, concatenated; from a cache where it was read lately. Throws DAMAGED, NOT_FOUND. */
  readonly referencesOf: (id: Buffer) => Promise<Buffer>;
  readonly remember: (id: Buffer, references: Buffer) => void;
  readonly damaged: (object: PlacedObject) => Promise<void>;
}

interface Wanted extends PlacedObject {
  readonly reference: number;
}

interface Job {
  readonly bytes: number;
  readonly answers: Promise<ReadAnswer[]>;
}

export class GrantedReadStream implements ReadStream {
  readonly recordId: Buffer;
  readonly recordMac: Buffer;
  readonly #grant: OpenGrant;
  readonly #deps: ReadStreamDeps;

  constructor(grant: OpenGrant, deps: ReadStreamDeps) {
    this.#grant = grant;
    this.#deps = deps;
    this.recordId = grant.recordId;
    this.recordMac = servedMac(deps.grantKey, grant, grant.recordId);
  }

  async *serve(wants: AsyncIterable<Want>): AsyncGenerator<ReadAnswer> {
    const jobs: Job[] = [];
    const state = { heldBytes: 0, done: false, stopped: false, error: undefined as HoldfastError | undefined };
    let wake: () => void = () => undefined;
    const changed = (): void => wake();
    const waitForChange = (): Promise<void> => new Promise((resolve) => (wake = resolve));

    let roomForMore: () => void = () => undefined;
    const produce = async (): Promise<void> => {
      for await (const want of wants) {
        for (const job of await this.#plan(want)) {
          while (state.heldBytes > 0 && state.heldBytes + job.bytes > this.#deps.readAheadBytes && !state.stopped) {
            await new Promise<void>((resolve) => (roomForMore = resolve));
          }
          if (state.stopped) return;
          state.heldBytes += job.bytes;
          const answers = job.start();
          answers.catch(() => undefined);
          jobs.push({ bytes: job.bytes, answers });
          changed();
        }
      }
    };
    void produce()
      .catch((error: unknown) => (state.error = toHoldfastError(error)))
      .finally(() => {
        state.done = true;
        changed();
      });

    try {
      for (;;) {
        const job = jobs.shift();
        if (job !== undefined) {
          yield* await job.answers;
          state.heldBytes -= job.bytes;
          roomForMore();
        } else if (state.done) {
          if (state.error !== undefined) throw state.error;
          return;
        } else {
          await waitForChange();
        }
      }
    } finally {
      state.stopped = true;
      roomForMore();
    }
  }

  async #plan(want: Want): Promise<{ bytes: number; start: () => Promise<ReadAnswer[]> }[]> {
    const { tag } = want;
    const wanted = await this.#wantedIds(want);
    const places = await this.#deps.locate(wanted.map(({ id }) => id));
    const present: Wanted[] = [];
    const missing: ReadAnswer[] = [];
    for (const { id, reference } of wanted) {
      const place = places.get(id.toString('hex'));
      if (place !== undefined) present.push({ id, reference, place });
      else
        missing.push({
          kind: 'notServed',
          tag,
          reference,
          id,
          reason: 'missing',
          message: 'the vault does not have it',
        });
    }
    const ranges = planRanges(present).map((range) => ({
      bytes: rangeBytes(range),
      start: () => this.#read(tag, range),
    }));
    return [...ranges, { bytes: 0, start: () => Promise.resolve([...missing, { kind: 'done', tag } as const]) }];
  }

  async #wantedIds(want: Want): Promise<{ id: Buffer; reference: number }[]> {
    const parentId = Buffer.from(want.parentId);
    if (parentId.length !== ID_BYTES) throw new HoldfastError('PROTOCOL_VIOLATION', 'a parent id of another length');
    checkServedMac(this.#deps.grantKey, this.#grant, parentId, want.parentMac);
    if (want.references.length === 0) return [{ id: parentId, reference: SELF_REFERENCE }];
    if (want.references.length > WANT_MAX_REFERENCES) {
      throw new HoldfastError('LIMIT_EXCEEDED', `a want of ${want.references.length} references is over the limit`);
    }
    const references = await this.#deps.referencesOf(parentId);
    return [...new Set(want.references)].map((reference) => {
      if (!(reference >= 0 && (reference + 1) * ID_BYTES <= references.length)) {
        throw new HoldfastError('NOT_ALLOWED', 'the parent has no such reference');
      }
      return { id: references.subarray(reference * ID_BYTES, (reference + 1) * ID_BYTES), reference };
    });
  }

  async #read(tag: bigint, range: readonly Wanted[]): Promise<ReadAnswer[]> {
    const outcomes = await this.#deps.readRange(range);
    const answers: ReadAnswer[] = [];
    for (const [index, object] of range.entries()) {
      const outcome = outcomes[index]!;
      if (outcome.ok) {
        answers.push(this.#served(tag, object, outcome.envelope));
      } else {
        await this.#deps.damaged(object);
        const { id, reference } = object;
        answers.push({ kind: 'notServed', tag, reference, id, reason: outcome.reason, message: outcome.message });
      }
    }
    return answers;
  }

  #served(tag: bigint, { id, reference, place }: Wanted, envelope: Buffer): ReadAnswer {
    const parent = place.kind === ObjectKind.manifestNode || place.kind === ObjectKind.snapshotRecord;
    if (parent) this.#deps.remember(id, Buffer.from(referencesOf(envelope)));
    const mac = parent ? servedMac(this.#deps.grantKey, this.#grant, id) : Buffer.alloc(0);
    return { kind: 'object', tag, reference, id, envelope, mac, pack: place.packId, packOffset: place.offset };
  }
}
