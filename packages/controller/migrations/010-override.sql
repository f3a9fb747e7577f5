-- A person's override of a catalog that was restored from an older state: the epochs that were left out then
-- (packages/shared/src/failover/lease-row.ts).

alter table application add column skipped_above bigint not null default 0;
alter table application add column skipped_below bigint not null default 0;
