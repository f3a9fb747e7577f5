// Which rights an account has on everything, read from SHOW GRANTS, and which it lacks. Pure.

/** What a dump and following need: https://mariadb.com/kb/en/grant/#global-privileges */
const NEEDED = [
  'SELECT',
  'RELOAD',
  'PROCESS',
  'SHOW VIEW',
  'TRIGGER',
  'EVENT',
  'LOCK TABLES',
  'REPLICATION SLAVE',
] as const;

/** What servers call the right to see where the binary log ends. */
const MONITOR_NAMES = ['BINLOG MONITOR', 'REPLICATION CLIENT', 'SUPER'];

/** Rights on `*.*`, in capitals; ALL PRIVILEGES stands for all. */
export function rightsIn(grants: readonly string[]): ReadonlySet<string> {
  const rights = new Set<string>();
  for (const grant of grants) {
    const said = /^GRANT (.+?) ON \*\.\* TO /i.exec(grant);
    for (const right of (said?.[1] ?? '').split(',')) rights.add(right.trim().toUpperCase());
  }
  return rights;
}

/** @param physical mariadb-backup is to run; it needs the same, and the agent must be able to read the server's files */
export function missingRights(held: ReadonlySet<string>, maria: boolean, physical: boolean): string[] {
  if (held.has('ALL PRIVILEGES') || held.has('ALL')) return [];
  const missing: string[] = NEEDED.filter((right) => !held.has(right));
  if (!MONITOR_NAMES.some((name) => held.has(name))) missing.push(maria ? 'BINLOG MONITOR' : 'REPLICATION CLIENT');
  if (physical && maria && !held.has('BACKUP_ADMIN') && !held.has('RELOAD') && !missing.includes('RELOAD'))
    missing.push('RELOAD');
  return missing;
}
