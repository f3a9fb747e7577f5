// What the vault asks about a source before it takes or commits a backup of it, and what a rebuild makes of one.

import { MAX_SOURCE_SPEC_BYTES } from '@holdfast/shared/format/controller-record';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import type pg from 'pg';

import type { SourceIdentity } from '../vault/snapshot-commit.ts';

/** Undefined for a source that is unknown or removed, or whose host was never enrolled. */
export async function describeSource(pool: pg.Pool, sourceId: string): Promise<SourceIdentity | undefined> {
  const { rows } = await pool.query<Omit<SourceIdentity, 'sourceType' | 'sourceSpec'> & { spec: Buffer }>(
    `select h.id as "hostId", h.domain_id as "domainId", h.name as "hostName", s.name as "sourceName", s.spec,
       h.record_key as "hostRecordPublicKey", d.name as "domainName", d.managed as "domainManaged",
       d.key_epoch as "domainKeyEpoch"
     from source s join host h on h.id = s.host_id join domain d on d.id = h.domain_id
     where s.id = $1 and s.removed_at is null and h.record_key is not null and h.state = 'enrolled'`,
    [sourceId],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const { spec, ...identity } = row;
  const sourceSpec = spec.length <= MAX_SOURCE_SPEC_BYTES ? spec : Buffer.alloc(0);
  return { ...identity, sourceSpec, sourceType: typeOfSource(SourceSpec.decode(spec)) };
}

/** files, postgres, mariadb, … */
export function typeOfSource({ type }: SourceSpec): string {
  return type?.$case === 'engine' ? type.value.type : (type?.$case ?? 'files');
}

/** The specification of a source that has lost its settings: it can be listed and restored, and its agent refuses to back it up. */
export function specWithoutPaths({ id, name }: { readonly id: string; readonly name: string }): Buffer {
  const type = { $case: 'files' as const, value: { paths: [] } };
  return Buffer.from(SourceSpec.encode(SourceSpec.fromPartial({ sourceId: id, name, type })).finish());
}
