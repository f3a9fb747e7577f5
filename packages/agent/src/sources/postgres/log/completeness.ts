// Up to which moment the stored log is known to be complete.
//
// Hazard: a moment that is claimed too early. A transaction takes its time just before its record is written, so a commit may still
// appear with a time that is a little older than what was seen last. So every claim is made MARGIN_MS younger than what was seen.
//
// A sight says: when the server's clock showed `atMs`, its log ended at `lsn`. Once everything before `lsn` is stored, every commit
// up to atMs − MARGIN_MS is. Bounded: when many sights wait, some are left out, which only makes the claim later.
//
// Invariants (completeness.property.test.ts): T1 a claim rests on a sight whose end is stored, and never goes back; T2 at most
// SIGHTS_MAX are kept. Pure.

export const MARGIN_MS = 1000;
export const SIGHTS_MAX = 1024;

interface Sight {
  readonly lsn: bigint;
  atMs: number;
}

export class Completeness {
  #sights: Sight[] = [];
  #completeToMs: number;

  /** @param completeToMs what was known before; 0: nothing */
  constructor(completeToMs: number) {
    this.#completeToMs = completeToMs;
  }

  /** When the server's clock showed `atMs` (Unix ms) everything that it had written was before `lsn`. Sights may come in any order. */
  saw(lsn: bigint, atMs: number): void {
    // An earlier sight that ends later says less than this one; one that ends here or before and is older says nothing more.
    if (this.#sights.some((sight) => sight.lsn <= lsn && sight.atMs >= atMs)) return;
    const last = this.#sights.at(-1);
    if (last !== undefined && last.lsn === lsn) {
      last.atMs = atMs;
      return;
    }
    if (last === undefined || last.lsn < lsn) this.#sights.push({ lsn, atMs });
    else {
      this.#sights = this.#sights.filter((sight) => sight.lsn < lsn || sight.atMs > atMs);
      this.#sights.push({ lsn, atMs });
      this.#sights.sort((a, b) => (a.lsn < b.lsn ? -1 : 1));
    }
    if (this.#sights.length > SIGHTS_MAX) this.#sights = this.#sights.filter((_, index) => index % 2 === 1);
  }

  /** Everything before `end` is stored, or will be with the piece that asks. Unix ms, whole; 0: nothing is known. */
  upTo(end: bigint): number {
    let used = 0;
    for (const { lsn, atMs } of this.#sights) {
      if (lsn > end) break;
      this.#completeToMs = Math.max(this.#completeToMs, Math.floor(atMs) - MARGIN_MS);
      used++;
    }
    // The last one stays: while nothing is written its time moves on.
    if (used > 1) this.#sights.splice(0, used - 1);
    return this.#completeToMs;
  }
}

/**
 * A server's insert position as the end of what can be stored: behind a page's header nothing is written yet, and the page's
 * beginning is what will be flushed.
 */
export function withoutPageHeader(lsn: bigint, pageBytes: number, fileBytes: number): bigint {
  const inPage = lsn % BigInt(pageBytes);
  const header = lsn % BigInt(fileBytes) === inPage ? 40n : 24n;
  return inPage === header ? lsn - inPage : lsn;
}
