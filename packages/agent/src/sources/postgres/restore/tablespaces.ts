// Where a restored cluster's tablespaces go: those of the base, and those that the log creates after it.
//
// Hazard: production's own directories. Nothing is written through a link that a snapshot holds, into a directory that is not empty
// unless that was said, or to where a log says that a tablespace was (log-tablespaces.ts).
//
// Tested in tablespaces.db.test.ts.

import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobWarning, RestoreJob, Settings } from '../../../jobs/job.ts';
import type { Account } from '../../../os/account.ts';
import type { BaseFacts } from '../base/base-facts.ts';
import { giveTo } from './data-directory.ts';

/** One that the base has. */
export interface MappedTablespace {
  readonly oid: number;
  /** undefined: in the data directory itself. */
  readonly path: string | undefined;
  readonly target: string;
}

/** One that the log is to create. */
export interface ExpectedTablespace {
  readonly oid: number;
  readonly path: string;
}

export interface TablespacePlaces {
  readonly ofBase: readonly MappedTablespace[];
  readonly ofLog: readonly ExpectedTablespace[];
}

/** Servers since 15 take a directory in pg_tblspc itself; older ones need a link to somewhere else. */
export const IN_PLACE_SINCE = 150_000;

/**
 * By the options `tablespace.OID=/path`. Throws INVALID_ARGUMENT for one that there can't be, or that is missing.
 * @param hasLog a log is replayed, which may create others than the base has
 */
export function tablespacesOf(facts: BaseFacts, options: Settings, dataDir: string, hasLog: boolean): TablespacePlaces {
  const ofLog: ExpectedTablespace[] = [];
  for (const [name, path] of Object.entries(options)) {
    const oid = /^tablespace\.(.+)$/.exec(name)?.[1];
    if (oid === undefined) continue;
    if (!path.startsWith('/')) throw new HoldfastError('INVALID_ARGUMENT', `${name} must be an absolute path`);
    if (facts.tablespaces.some((one) => String(one.oid) === oid)) continue;
    if (!hasLog || !/^[1-9]\d{0,9}$/.test(oid)) {
      throw new HoldfastError('INVALID_ARGUMENT', `the base has no tablespace ${oid}`, {
        hint: facts.tablespaces.map(({ oid: known, location }) => `${known} was ${location}`).join('; '),
      });
    }
    ofLog.push({ oid: Number(oid), path });
  }
  const ofBase = facts.tablespaces.map(({ oid, location }) => {
    const path = options[`tablespace.${oid}`];
    if (path === undefined && facts.serverVersionNumber < IN_PLACE_SINCE) {
      throw new HoldfastError('INVALID_ARGUMENT', `the tablespace at ${location} needs a place of its own`, {
        hint: `Name one: --option tablespace.${oid}=/path`,
      });
    }
    return { oid, path, target: path ?? join(dataDir, 'pg_tblspc', String(oid)) };
  });
  return { ofBase, ofLog };
}

/** Before anything is written: a tablespace of somebody else's is not restored into. Throws FAILED_PRECONDITION. */
export function refuseUsedPlaces({ ofBase, ofLog }: TablespacePlaces, job: RestoreJob): void {
  for (const { oid, path } of ofBase) {
    if (path === undefined || job.delta || isFree(path)) continue;
    throw notEmpty(oid, path, 'Name a new or empty directory, or add --delta where it holds an older state of it.');
  }
  for (const { oid, path } of ofLog) {
    // What an older replay left there would be taken for the tablespace's own.
    if (!isFree(path)) throw notEmpty(oid, path, 'The log creates it: name a new or empty directory.');
  }
}

function isFree(path: string): boolean {
  return !existsSync(path) || readdirSync(path).length === 0;
}

function notEmpty(oid: number, path: string, hint: string): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', `the place of tablespace ${oid}, ${path}, is not empty`, { hint });
}

/** Whatever a snapshot says: nothing is ever written through a link of its. */
export function removeLink(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) rmSync(path);
}

/** Links in pg_tblspc to where tablespaces are, and to where the log will put its own. */
export function linkTablespaces(dataDir: string, { ofBase, ofLog }: TablespacePlaces, account: Account): void {
  for (const { path } of ofLog) mkdirSync(path, { recursive: true });
  for (const { oid, path } of [...ofBase, ...ofLog]) {
    if (path === undefined) continue;
    const link = join(dataDir, 'pg_tblspc', String(oid));
    rmSync(link, { recursive: true, force: true });
    symlinkSync(path, link);
    giveTo(path, account);
  }
}

/**
 * What to say of tablespaces that the log created, and of places that none was created in; their links are taken away.
 * @param moved by OID, where they were
 * @param replayed up to the target; else the whole log lies there, and is replayed later
 */
export function tablespaceWarnings(
  dataDir: string,
  { ofBase, ofLog }: TablespacePlaces,
  moved: ReadonlyMap<number, string>,
  replayed: boolean,
): JobWarning[] {
  const warnings: JobWarning[] = [];
  const placeOf = (oid: number): string => join(dataDir, 'pg_tblspc', String(oid));
  const warn = (oid: number, message: string): void =>
    void warnings.push({ code: 'tablespace', path: `pg_tblspc/${oid}`, message });
  for (const { oid, path } of ofLog) {
    if (moved.has(oid)) continue;
    rmSync(placeOf(oid), { force: true });
    warn(oid, `the log creates no tablespace ${oid}: ${path} is not used`);
  }
  for (const [oid, location] of moved) {
    if ([...ofBase, ...ofLog].some((one) => one.oid === oid)) continue;
    // One behind the target, or that was dropped again.
    if (replayed && !existsSync(placeOf(oid))) continue;
    const elsewhere = `--option tablespace.${oid}=/path puts it elsewhere`;
    warn(oid, `the log creates it, at ${location}; here it is in the data directory; ${elsewhere}`);
  }
  return warnings;
}
