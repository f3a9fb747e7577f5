// The server's programs on this host, of one major version.

import { accessSync, constants } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** Where packages put them. */
const PLACES = [
  '/usr/lib/postgresql/MAJOR/bin',
  '/usr/pgsql-MAJOR/bin',
  '/usr/libexec/postgresqlMAJOR',
  '/usr/local/pgsql/bin',
  '/usr/bin',
  '/usr/local/bin',
];

/**
 * The directory of postgres, pg_ctl and the others. @param wanted named by the operator: then no other is looked for.
 * Throws FAILED_PRECONDITION when there is none of this major version.
 */
export function findPrograms(major: number, wanted: string | undefined): string {
  const places = wanted === undefined ? PLACES.map((place) => place.replace('MAJOR', String(major))) : [wanted];
  const others: string[] = [];
  for (const place of places) {
    const found = majorAt(place);
    if (found === major) return place;
    if (found !== undefined) others.push(`${found} in ${place}`);
  }
  throw new HoldfastError(
    'FAILED_PRECONDITION',
    others.length === 0
      ? `this host has no PostgreSQL ${major}, which made the base`
      : `the base is of PostgreSQL ${major}, and this host has ${others.join(', ')}`,
    { hint: `Install it (apt-get install postgresql-${major}), or name its programs: --option bindir=/path/bin` },
  );
}

function majorAt(place: string): number | undefined {
  const program = join(place, 'postgres');
  try {
    accessSync(program, constants.X_OK);
    const said = execFileSync(program, ['--version'], { encoding: 'utf8', timeout: 10_000 });
    const major = Number(/\(PostgreSQL\) (\d+)/.exec(said)?.[1]);
    return Number.isInteger(major) ? major : undefined;
  } catch {
    return undefined;
  }
}
