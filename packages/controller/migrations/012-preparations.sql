-- Preparations: while a primary is only suspected, steps that run ahead are begun by a run that fails nothing over. The run of the failover takes it
-- over, row and all; else it ends when the primary is heard again.

alter table run add column ahead boolean not null default false; -- a preparation: it was, or is, for nothing but steps that run ahead
-- At most one real run and one preparation of a plan at a time. A preparation keeps nobody from starting a real run.
drop index one_real_run;
create unique index one_real_run on run (plan_id) where finished_at is null and mode <> 'drill' and not ahead;
create unique index one_preparation on run (plan_id) where finished_at is null and ahead;
