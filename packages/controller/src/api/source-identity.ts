// What the vault asks about a source before it takes or commits a backup of it.

import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import type pg from 'pg';

import type { SourceIdentity } from '../vault/snapshot-commit.ts';

/** Undefined for a source that is unknown or removed, or whose host was never enrolled. */
export async function describeSource(pool: pg.Pool, sourceId: string): Promise<SourceIdentity | undefined> {
  const { rows } = await pool.query<Omit<SourceIdentity, 'sourceType'> & { spec: Buffer }>(
    `select h.id as "hostId", h.domain_id as "domainId", h.name as "hostName", s.name as "sourceName", s.spec,
       h.record_key as "hostRecordPublicKey"
     from source s join host h on h.id = s.host_id
     where s.id = $1 and s.removed_at is null and h.record_key is not null and h.state = 'enrolled'`,
    [sourceId],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const { spec, ...identity } = row;
  return { ...identity, sourceType: SourceSpec.decode(spec).type?.$case ?? 'files' };
}
