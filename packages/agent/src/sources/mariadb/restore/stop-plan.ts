// Where a replay ends: between two transactions, never within one.
//
// MariaDB writes whole seconds beside its transactions, and of the statement's beginning, not of the commit. But while the log was
// followed the server was asked again and again what its clock says and where its log ends: these moments (`clock=` marks of the
// pieces) say of a transaction behind one that it was committed later, and of one before it that it was committed earlier. Where the
// moments leave a doubt, the transaction's own second decides: it belongs to the target when it is not later than that.
//
// Invariants (stop-plan.test.ts): T1 everything up to the target, and nothing after it, wherever a moment lies between the two;
// T2 what follows the first transaction that is left out is left out too.
//
// Pure.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import { GtidPosition } from '../binlog/gtid.ts';
import { comparePositions, fromLogPosition, type BinlogPosition } from '../binlog/position.ts';
import type { Commit } from '../binlog/transactions.ts';

/** The server's clock said `atMs`, and then its log ended at `position`. */
export interface Moment {
  readonly atMs: number;
  readonly position: BinlogPosition;
}

export interface FoundTransaction extends Commit {
  readonly start: BinlogPosition;
  readonly end: BinlogPosition;
}

export class StopPlan {
  readonly #target: RecoveryTarget;
  readonly #moments: readonly Moment[];
  readonly #wanted: GtidPosition | undefined;
  readonly #reached: GtidPosition;

  /**
   * @param baseGtid where the base stands
   * Throws FAILED_PRECONDITION for a target that lies before the base, INVALID_ARGUMENT for one that no binary log knows.
   */
  constructor(
    target: RecoveryTarget,
    moments: readonly Moment[],
    base: { readonly position: BinlogPosition; readonly gtid: string },
  ) {
    this.#target = target;
    this.#moments = moments.toSorted((a, b) => comparePositions(a.position, b.position));
    this.#reached = new GtidPosition(base.gtid);
    this.#wanted = target.kind === 'gtid' ? new GtidPosition(target.gtid) : undefined;
    if (target.kind === 'name') {
      throw new HoldfastError('INVALID_ARGUMENT', 'MariaDB has no named restore points', {
        hint: 'Use --at or --gtid.',
      });
    }
    const before = target.kind === 'position' && comparePositions(fromLogPosition(target), base.position) < 0;
    if (before || (this.#wanted !== undefined && this.#reached.exceeds(this.#wanted))) {
      throw new HoldfastError('FAILED_PRECONDITION', 'the target lies before this snapshot', {
        hint: 'Restore from an older snapshot: --snapshot.',
      });
    }
  }

  /** Whether nothing more belongs to the target. */
  get complete(): boolean {
    if (this.#target.kind === 'base') return true;
    return this.#wanted !== undefined && this.#reached.reaches(this.#wanted);
  }

  /** The GTIDs of what was taken, and of the base. */
  get gtid(): string {
    return this.#reached.toString();
  }

  /** Whether the transaction belongs to the target; when not, nothing after it does. */
  takes(transaction: FoundTransaction): boolean {
    if (this.complete || !this.#within(transaction)) return false;
    if (transaction.gtid !== '') this.#reached.advance(transaction.gtid);
    return true;
  }

  /** Throws FAILED_PRECONDITION when the log ended before the target. */
  assertReached(): void {
    if (this.#wanted === undefined || this.complete) return;
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `the stored log ends at ${this.gtid}, before ${this.#wanted.toString()}`,
      {
        hint: 'See what can be reached with `holdfast source show`.',
      },
    );
  }

  #within(transaction: FoundTransaction): boolean {
    const target = this.#target;
    if (target.kind === 'position') return comparePositions(transaction.end, fromLogPosition(target)) <= 0;
    if (target.kind !== 'time') return true;
    if (transaction.exact) return transaction.atMs <= target.atMs;
    const before = this.#moments.findLast(({ position }) => comparePositions(position, transaction.start) <= 0);
    if (before !== undefined && before.atMs >= target.atMs) return false;
    const after = this.#moments.find(({ position }) => comparePositions(position, transaction.end) >= 0);
    if (after !== undefined && after.atMs <= target.atMs) return true;
    return transaction.atMs <= target.atMs;
  }
}

/** The moments among a piece's marks: `clock=1795397643123@mysql-bin.000002:1595`. */
export function momentsIn(marks: readonly string[]): Moment[] {
  return marks.flatMap((mark) => {
    const said = /^clock=(\d{1,15})@(.+:\d+)$/.exec(mark);
    return said === null ? [] : [{ atMs: Number(said[1]), position: fromLogPosition({ text: said[2] ?? '' }) }];
  });
}
