// MariaDB's GTIDs, as far as choosing a base needs them: lists like "0-1-100,1-2-5" of domain, server and sequence number
// (https://mariadb.com/kb/en/gtid/). Pure.

/** By domain. Undefined for what is no list of GTIDs. */
function parse(list: string): Map<string, bigint> | undefined {
  const found = new Map<string, bigint>();
  for (const one of list.split(',')) {
    const parts = /^\s*(\d{1,10})-(\d{1,10})-(\d{1,20})\s*$/.exec(one);
    if (parts === null) return undefined;
    found.set(parts[1]!, BigInt(parts[3]!));
  }
  return found;
}

export function isGtid(text: string): boolean {
  return parse(text) !== undefined;
}

/** Whether a state of the server has reached every GTID of `wanted`, or lies beyond one of them. False for what is none. */
export function coversGtid(state: string, wanted: string, how: 'reached' | 'beyond'): boolean {
  const has = parse(state);
  const wants = parse(wanted);
  if (has === undefined || wants === undefined) return false;
  const entries = [...wants];
  return how === 'reached'
    ? entries.every(([domain, sequence]) => (has.get(domain) ?? -1n) >= sequence)
    : entries.some(([domain, sequence]) => (has.get(domain) ?? -1n) > sequence);
}
