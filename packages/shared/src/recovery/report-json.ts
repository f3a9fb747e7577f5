// One text for one value: what is signed must not depend on how somebody laid it out. Pure. Tested in report.test.ts.

/** JSON as RFC 8785 has it: members sorted by UTF-16 code units, no white space. `value`: what JSON can hold, and no undefined. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, held]) => `${JSON.stringify(key)}:${canonicalJson(held)}`).join(',')}}`;
}
