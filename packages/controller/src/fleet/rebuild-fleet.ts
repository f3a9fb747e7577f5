// Domains, hosts and sources of a lost catalog, from the commit records in the packs and the domains' recovery sheets.
//
// Hazards: snapshots without a name, which nobody can restore by the command line; a domain with a new secret in the place of
// the old one, whose backups then open no more; a host that was revoked and comes back as if nothing had been. The list of
// revocations is lost with the catalog, so there is a new authority and no old certificate counts: every host is enrolled
// again, under the name and the id that it had.
//
// What never had a snapshot left no record: such hosts and sources, operators and their tokens, jobs and the audit trail are gone.
//
// Tested in rebuild-fleet.db.test.ts, and from end to end in test/e2e/rebuild.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { CommitRecord } from '@holdfast/shared/format/controller-record';
import type pg from 'pg';

import { appendAudit } from './audit.ts';
import { insertDomain } from './domains.ts';
import type { MasterKey } from './master-key.ts';
import { setRole } from './operators.ts';
import type { RecoverySheet } from './recovery-sheet.ts';

export interface FleetPlan {
  readonly domains: readonly {
    readonly id: string;
    readonly name: string;
    readonly keyEpoch: number;
    /** Undefined for a sealed domain. */
    readonly secret: Buffer | undefined;
  }[];
  readonly hosts: readonly PlannedHost[];
  readonly sources: readonly PlannedSource[];
}

interface PlannedHost {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly recordKey: Buffer;
}

interface PlannedSource {
  readonly id: string;
  readonly hostId: string;
  readonly name: string;
  /** A SourceSpec. */
  readonly spec: Buffer;
  /** Another source has taken its name since: it was removed, and its snapshots stay. */
  readonly removed: boolean;
  /** Its settings did not fit into the record: it can be restored, not backed up. */
  readonly withoutPaths: boolean;
}

/** The settings of a source of which nothing but the name is left. */
export type SpecWithoutPaths = (source: { readonly id: string; readonly name: string }) => Buffer;

/**
 * What there was, by the newest record of each source, host and domain.
 * Throws FAILED_PRECONDITION when the sheet of a managed domain is missing: without its secret nothing of it opens.
 */
export function planFleet(
  commits: readonly CommitRecord[],
  sheets: readonly RecoverySheet[],
  specWithoutPaths: SpecWithoutPaths,
): FleetPlan {
  const newestFirst = commits.toSorted((a, b) => b.committedAtMs - a.committedAtMs);
  const sheetOf = new Map(sheets.map((sheet) => [sheet.id, sheet]));
  const records = firstOfEach(newestFirst, ({ domainId }) => domainId);
  const without = records.filter(({ domainManaged, domainId }) => domainManaged && !sheetOf.has(domainId));
  if (without.length > 0) {
    const names = without.map(({ domainName, domainId }) => `${domainName} (${domainId})`).join(', ');
    throw new HoldfastError('FAILED_PRECONDITION', `the recovery sheet is missing of: ${names}`, {
      hint: 'Give each with --recovery-sheet FILE, or - for standard input.',
    });
  }
  const ofRecords = records.map((record) => ({
    id: record.domainId,
    name: record.domainName,
    keyEpoch: sheetOf.get(record.domainId)?.keyEpoch ?? record.domainKeyEpoch,
    secret: sheetOf.get(record.domainId)?.secret,
  }));
  const found = new Set(ofRecords.map(({ id }) => id));
  const ofSheets = [...sheetOf.values()].filter(({ id }) => !found.has(id));
  return {
    domains: [...ofRecords, ...ofSheets],
    hosts: firstOfEach(newestFirst, ({ hostId }) => hostId).map((record) => ({
      id: record.hostId,
      domainId: record.domainId,
      name: record.hostName,
      recordKey: Buffer.from(record.hostRecordPublicKey),
    })),
    sources: planSources(newestFirst, specWithoutPaths),
  };
}

function planSources(newestFirst: readonly CommitRecord[], specWithoutPaths: SpecWithoutPaths): PlannedSource[] {
  const taken = new Set<string>();
  return firstOfEach(newestFirst, ({ sourceId }) => sourceId).map((record) => {
    const fullName = `${record.hostId}/${record.sourceName}`;
    const removed = taken.has(fullName);
    taken.add(fullName);
    const withoutPaths = record.sourceSpec.length === 0;
    const source = { id: record.sourceId, hostId: record.hostId, name: record.sourceName };
    const spec = withoutPaths ? specWithoutPaths(source) : Buffer.from(record.sourceSpec);
    return { ...source, spec, removed, withoutPaths };
  });
}

function firstOfEach<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  const first = new Map<string, T>();
  for (const item of items) if (!first.has(keyOf(item))) first.set(keyOf(item), item);
  return [...first.values()];
}

/**
 * Makes the rows, in the place of the domain that the first start made. The owner's token of the first start is good for all.
 * Throws FAILED_PRECONDITION when the catalog has hosts already. Nothing happens when there is nothing to make.
 */
export async function recreateFleet(client: pg.ClientBase, masterKey: MasterKey, plan: FleetPlan): Promise<void> {
  const { rows: known } = await client.query('select 1 from host limit 1');
  if (known.length > 0) {
    throw new HoldfastError('FAILED_PRECONDITION', 'the catalog has hosts already', {
      hint: 'Rebuild into an empty catalog.',
    });
  }
  if (plan.domains.length === 0) return;
  const { rows: operators } = await client.query<{ id: string }>('select id from operator');
  await client.query('delete from operator_role');
  await client.query('delete from domain');
  for (const domain of plan.domains) {
    await insertDomain(client, masterKey, domain);
    for (const { id } of operators) await setRole(client, id, domain.id, 'admin');
  }
  for (const { id, domainId, name, recordKey } of plan.hosts) {
    await client.query(`insert into host (id, domain_id, name, state, record_key) values ($1, $2, $3, 'waiting', $4)`, [
      id,
      domainId,
      name,
      recordKey,
    ]);
  }
  for (const { id, hostId, name, spec, removed } of plan.sources) {
    await client.query(
      'insert into source (id, host_id, name, spec, removed_at) values ($1, $2, $3, $4, case when $5 then now() end)',
      [id, hostId, name, spec, removed],
    );
  }
  const subject = `${plan.domains.length} domains, ${plan.hosts.length} hosts, ${plan.sources.length} sources`;
  await appendAudit(client, { domainId: null, actor: 'controller', action: 'controller.rebuild', subject });
}
