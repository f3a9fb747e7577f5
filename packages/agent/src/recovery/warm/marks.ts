// Which places on this host are a plan's warm copies, so that nothing else is ever taken for one.
//
// Hazard: a copy is kept by deleting what the primary does not have. Aimed at the wrong directory that destroys somebody's data. So a place is a
// plan's copy only if it was empty when it became one, or if it was told that what is there may be overwritten; and what was marked is
// durable before anything is written there.
//
// Invariants (plan-restores.test.ts): WM1 a place that holds something and is no copy of this source is refused; WM2 no two copies lie in one
// another; WM3 a mark is there before the first write, and goes with `release`.

import { randomUUID } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { displayPath, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { makeDirectory } from '@holdfast/shared/runtime/make-directory';
import type { WarmOrder } from '../../jobs/job.ts';
import { replaceFileDurably } from '../../link/durable-file.ts';
import { isWithin } from '../sandbox/mount-plan.ts';

export interface Mark {
  readonly application: string;
  readonly sourceId: string;
  /** Absolute. */
  readonly places: readonly ByteString[];
  /** Hex of the snapshot that the copy is, to the byte; '': it is between two, or something may have written there since. */
  readonly applied: string;
}

type Claim = Pick<WarmOrder, 'application' | 'sourceId' | 'takeOver'>;

const FOLDER = 'warm';
const MARKS_MAX = 1024;

export class Marks {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, FOLDER);
  }

  all(): Mark[] {
    if (!existsSync(this.#folder)) return [];
    const names = readdirSync(this.#folder).filter((name) => name.endsWith('.mark'));
    return names.map((name) => JSON.parse(readFileSync(join(this.#folder, name), 'latin1')) as Mark);
  }

  /** Makes `places` this copy's. Durable when it returns. Throws FAILED_PRECONDITION (WM1, WM2), LIMIT_EXCEEDED. */
  claim(order: WarmOrder, places: readonly ByteString[]): void {
    const objection = this.objection(order, places);
    if (objection !== undefined) throw objection;
    // From now on, until it says otherwise, it is between two snapshots.
    if (this.of(order) === undefined && this.all().length >= MARKS_MAX)
      throw new HoldfastError('LIMIT_EXCEEDED', `this host keeps ${MARKS_MAX} warm copies already`);
    makeDirectory(this.#folder, 0o700);
    const { application, sourceId } = order;
    this.#write({ application, sourceId, places, applied: '' });
  }

  /** Why these places can't be this copy's (WM1, WM2); undefined: they can. Changes nothing. */
  objection(order: Claim, places: readonly ByteString[]): HoldfastError | undefined {
    const all = this.all();
    const own = all.find((mark) => isOf(mark, order));
    for (const place of places) {
      const other = all.find(
        (mark) => mark !== own && mark.places.some((one) => isWithin(one, place) || isWithin(place, one)),
      );
      if (other !== undefined) {
        return new HoldfastError(
          'FAILED_PRECONDITION',
          `${displayPath(place)} overlaps with the warm copy of another plan’s source`,
          {
            hint: 'Give one of the restore steps a target of its own.',
          },
        );
      }
      if (own?.places.includes(place) === true || order.takeOver || isFree(place)) continue;
      return new HoldfastError(
        'FAILED_PRECONDITION',
        `${displayPath(place)} holds something that is no copy of this plan’s`,
        {
          hint: 'A warm copy removes what the primary does not have. Empty that place, or give the restore step another target.',
          details: { path: displayPath(place) },
        },
      );
    }
    return undefined;
  }

  /** Undefined: there is no such copy. */
  of(order: Pick<Claim, 'application' | 'sourceId'>): Mark | undefined {
    return this.all().find((mark) => isOf(mark, order));
  }

  /** The copy is this snapshot now; '' when it may be another from now on. */
  applied(order: WarmOrder, snapshotId: string): void {
    const mark = this.of(order);
    if (mark !== undefined && mark.applied !== snapshotId) this.#write({ ...mark, applied: snapshotId });
  }

  #write(mark: Mark): void {
    replaceFileDurably(this.#folder, nameOf(mark), Buffer.from(JSON.stringify(mark), 'latin1'), randomUUID());
  }

  release(order: WarmOrder): void {
    rmSync(join(this.#folder, nameOf(order)), { force: true });
  }
}

function isOf(mark: Mark, { application, sourceId }: Pick<Claim, 'application' | 'sourceId'>): boolean {
  return mark.application === application && mark.sourceId === sourceId;
}

function nameOf({ application, sourceId }: Pick<Mark, 'application' | 'sourceId'>): string {
  return `${application}.${sourceId}.mark`;
}

function isFree(place: ByteString): boolean {
  const path = toBytes(place);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined || (stat.isDirectory() && readdirSync(path).length === 0);
}
