// Runs of zeros: found at the speed of memory, so that preallocated and swap-like files cost nothing.
//
// Elsewhere on purpose: holes are found by SEEK_HOLE and never read (the agent's scan); chunker.ts decides which run is long
// enough to become a *zeros* segment.

/** The offset of the first byte in [from, to) that is not zero; `to` when there is none. */
export function zeroRunEnd(buffer: Buffer, from: number, to: number): number {
  let at = from;
  // Most calls end here: content seldom begins with zeros.
  const quick = Math.min(to, from + 16);
  while (at < quick) if (buffer[at++] !== 0) return at - 1;
  while (at < to) {
    const end = Math.min(to, at + ZEROS.length);
    if (buffer.compare(ZEROS, 0, end - at, at, end) !== 0) break;
    at = end;
  }
  const last = Math.min(to, at + ZEROS.length);
  while (at < last && buffer[at] === 0) at++;
  return at;
}

const ZEROS = Buffer.alloc(64 * 1024);
