// GTID positions: how far a server is in each domain. https://mariadb.com/kb/en/gtid/
//
// A MariaDB position is a list of domain-server-sequence, one a domain; sequences grow within a domain. MySQL's are
// uuid:number here, with the uuid as the domain.
//
// Pure. Tested in gtid.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

interface Gtid {
  readonly domain: string;
  readonly sequence: bigint;
  readonly text: string;
}

export class GtidPosition {
  readonly #byDomain = new Map<string, Gtid>();

  /** @param text `0-1-42,1-1-7`; empty: nothing yet. Throws INVALID_ARGUMENT. */
  constructor(text: string) {
    for (const part of text.split(',').map((piece) => piece.trim())) if (part !== '') this.advance(part);
  }

  advance(gtid: string): void {
    const parsed = parse(gtid);
    this.#byDomain.set(parsed.domain, parsed);
  }

  /** Whether everything in `target` has happened here. */
  reaches(target: GtidPosition): boolean {
    for (const wanted of target.#byDomain.values()) {
      const here = this.#byDomain.get(wanted.domain);
      if (here === undefined || here.sequence < wanted.sequence) return false;
    }
    return true;
  }

  /** Whether more than `target` has happened here, in one of its domains. */
  exceeds(target: GtidPosition): boolean {
    for (const wanted of target.#byDomain.values()) {
      const here = this.#byDomain.get(wanted.domain);
      if (here !== undefined && here.sequence > wanted.sequence) return true;
    }
    return false;
  }

  toString(): string {
    return [...this.#byDomain.values()].map(({ text }) => text).join(',');
  }
}

function parse(text: string): Gtid {
  const maria = /^(\d+)-(\d+)-(\d+)$/.exec(text);
  if (maria !== null) return { domain: maria[1] ?? '', sequence: BigInt(maria[3] ?? 0), text };
  const mysql = /^([0-9a-f-]{36}):(?:1-)?(\d+)$/i.exec(text);
  if (mysql !== null) return { domain: (mysql[1] ?? '').toLowerCase(), sequence: BigInt(mysql[2] ?? 0), text };
  throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(text)} is no GTID`, {
    hint: 'They look like 0-1-42 (MariaDB) or 3e11fa47-71ca-11e1-9e33-c80aa9429562:23 (MySQL).',
  });
}

/** What a MariaDB list event says: how far the server was when the file began. */
export function gtidsInList(head: Buffer): string[] {
  const count = head.readUInt32LE(0) & 0x0f_ff_ff_ff;
  const gtids: string[] = [];
  for (let at = 4; gtids.length < count && at + 16 <= head.length; at += 16) {
    gtids.push(`${head.readUInt32LE(at)}-${head.readUInt32LE(at + 4)}-${head.readBigUInt64LE(at + 8)}`);
  }
  return gtids;
}
