// Padmé padding: lengths that say less about what they hold.
//
// Hazard: the sizes of objects stand in the clear, and a list of sizes is a fingerprint of known files. Padmé (Nikitin et
// al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019, section 4) leaves
// O(log log L) bits of a length L and costs at most 12 %, less for longer ones.

/** The padded length for `length` bytes: the same for all lengths that share their leading bits. Deterministic. */
export function padmeLength(length: number): number {
  if (length < 2) return length;
  const exponent = 31 - Math.clz32(length);
  const significantBits = 32 - Math.clz32(exponent);
  const mask = 2 ** Math.max(0, exponent - significantBits) - 1;
  return (length + mask) & ~mask;
}
