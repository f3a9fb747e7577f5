// Objects out of packs: located in batches, read in few large ranges, checked against their ids (I1).
//
// Hazard: one flipped bit must cost one object and be said, not be handed on, and not end a restore. So every answer is
// either an envelope whose hash is its id, or a reason; a range that cannot be read is tried object by object.
//
// Tested in read.db.test.ts and damage.db.test.ts.

import { toHoldfastError } from '@holdfast/shared/base/errors';

import type { ObjectPlace } from './object-index.ts';
import { packFileName, sha256 } from './pack-format.ts';
import type { VaultStorage } from './storage.ts';

/** Something wanted, with the place the index gives it. */
export interface PlacedObject {
  readonly id: Buffer;
  readonly place: ObjectPlace;
}

export type ReadOutcome =
  | { readonly ok: true; readonly envelope: Buffer }
  | { readonly ok: false; readonly reason: 'damaged' | 'missing'; readonly message: string };

/** Adjacent enough to read through: what lies between costs less than another call. */
const GAP_MAX_BYTES = 128 * 1024;
const RANGE_MAX_BYTES = 4 * 1024 * 1024;

/** Sorts by place and groups what one read should fetch. Pure. */
export function planRanges<T extends PlacedObject>(objects: readonly T[]): T[][] {
  const sorted = objects.toSorted(
    (a, b) => a.place.packSequence - b.place.packSequence || a.place.offset - b.place.offset,
  );
  const ranges: T[][] = [];
  let end = 0;
  for (const object of sorted) {
    const range = ranges.at(-1);
    const first = range?.[0]?.place;
    const { place } = object;
    const joins =
      range !== undefined &&
      first !== undefined &&
      first.packSequence === place.packSequence &&
      place.offset - end <= GAP_MAX_BYTES &&
      place.offset + place.lengthBytes - first.offset <= RANGE_MAX_BYTES;
    if (joins) range.push(object);
    else ranges.push([object]);
    end = joins ? Math.max(end, place.offset + place.lengthBytes) : place.offset + place.lengthBytes;
  }
  return ranges;
}

/** Bytes that reading a range takes. */
export function rangeBytes(range: readonly PlacedObject[]): number {
  const start = range[0]?.place.offset ?? 0;
  return range.reduce((end, { place }) => Math.max(end, place.offset + place.lengthBytes), start) - start;
}

/** Reads one range of `planRanges`; outcomes in its order. Never throws for what the target does. */
export async function readRange(
  storage: VaultStorage,
  domainId: string,
  range: readonly PlacedObject[],
): Promise<ReadOutcome[]> {
  const start = range[0]!.place.offset;
  let bytes: Buffer;
  try {
    bytes = await storage.read(packFileName({ id: range[0]!.place.packId, domainId }), start, rangeBytes(range));
  } catch (error) {
    if (range.length === 1) return [unreadable(error)];
    const alone: ReadOutcome[] = [];
    for (const object of range) alone.push(...(await readRange(storage, domainId, [object])));
    return alone;
  }
  return range.map(({ id, place }) =>
    checked(id, bytes.subarray(place.offset - start, place.offset - start + place.lengthBytes), place),
  );
}

function checked(id: Buffer, envelope: Buffer, place: ObjectPlace): ReadOutcome {
  if (envelope.length === place.lengthBytes && sha256(envelope).equals(id)) return { ok: true, envelope };
  const message = envelope.length < place.lengthBytes ? 'its pack ends before it' : 'its bytes in the pack are damaged';
  return { ok: false, reason: 'damaged', message };
}

function unreadable(error: unknown): ReadOutcome {
  const { code, message } = toHoldfastError(error);
  return code === 'NOT_FOUND'
    ? { ok: false, reason: 'missing', message: 'its pack is missing' }
    : { ok: false, reason: 'damaged', message: `its pack cannot be read: ${message}` };
}
