-- Runs of recovery plans: rows that people pause, skip and retry while they are live, and that are the evidence afterwards.

-- A step is about no source of the catalog's.
alter table job drop constraint job_kind_check;
alter table job add constraint job_kind_check
  check (kind in ('backup', 'restore', 'verify', 'check', 'discover', 'step'));
alter table job drop constraint job_check;
alter table job add constraint job_check check (source_id is not null or kind in ('check', 'discover', 'step'));

-- What a person, or a check, last found: without it a plan is not ready.
alter table plan
  add column verified_at timestamptz,    -- every step's precheck was well, on the real hosts
  add column unverified_because text not null default 'it was never checked on its hosts';

create table run (
  id           text primary key,         -- UUID
  plan_id      text not null references plan,
  revision     int not null,             -- pinned
  mode         text not null check (mode in ('drill', 'planned', 'unplanned')),
  state        text not null,            -- controller/src/recovery/runs/run-states.ts
  pause        text not null default '', -- why it is paused: step | operator | approval | fence | unknown | rollback | stuck
  reason       text not null default '', -- the same, or why it failed, for people
  from_host    text not null references host, -- the primary and the standby when it began
  to_host      text not null references host,
  epoch        bigint not null,          -- under which to_host serves
  automatic    boolean not null,         -- nobody asked for it: the promotion was there first
  started_by   text not null,
  started_at   timestamptz not null default now(),
  finished_at  timestamptz,
  due_at       timestamptz,              -- when waiting for approval, or the drill, is over
  approvals_needed int not null,
  approved_at  timestamptz,
  fence_proof  text not null default '', -- agent-stopped | lease-ran-out | script | person
  protected_at timestamptz,              -- the new primary has its sources from then on
  diverged     jsonb not null default '{}', -- of the old primary, by source: what became of the snapshot of what it held
  point        jsonb not null,           -- pinned: what each source is recovered to
  times        jsonb not null default '{}', -- name -> ms, the catalog's clock
  version      bigint not null default 0 -- counts changes of the run and its steps
);
create index on run (plan_id, started_at);
-- At most one real run and one drill of a plan at a time; a real one puts an end to the drill.
create unique index one_real_run on run (plan_id) where finished_at is null and mode <> 'drill';
create unique index one_drill on run (plan_id) where finished_at is null and mode = 'drill';
-- The same promotion is told several times.
create unique index one_automatic_run on run (plan_id, epoch) where automatic;

create table run_step (
  run_id      text not null references run,
  step_id     text not null,
  position    int not null,              -- in the document
  spec        jsonb not null,            -- as the pinned revision has it
  host_id     text references host,      -- null: the controller's own
  state       text not null,
  attempt     int not null default 0,
  phase       text not null default '',  -- what its jobs do now: probe | apply | verify | undo | …
  round       int not null default 0,    -- of the phase, within the attempt
  due_at      timestamptz,               -- at work: when it has taken too long; retrying: when it is tried again
  started_at  timestamptz,
  finished_at timestamptz,
  message     text not null default '',
  remedy      text not null default '',
  output      text not null default '',
  facts       jsonb not null default '{}',
  primary key (run_id, step_id)
);

-- Which job does what for a run: made with the transition that needs it, so a replica that takes over finds it and sends no second one.
create table run_job (
  job_id  text primary key references job,
  run_id  text not null references run,
  step_id text not null,                 -- '': of the run itself
  attempt int not null,
  phase   text not null,
  round   int not null,
  part    text not null                  -- a source, a witness; else ''
);
create unique index on run_job (run_id, step_id, attempt, phase, round, part);

create table run_event (
  run_id   text not null references run,
  sequence bigint not null,
  at       timestamptz not null default clock_timestamp(),
  actor    text not null,                -- engine, operator NAME, host NAME
  term     bigint not null,              -- of the driver; 0: a person's
  step_id  text not null,                -- '': of the run
  kind     text not null check (kind in ('state', 'action', 'note')),
  message  text not null,
  primary key (run_id, sequence)
);
create function run_event_is_final() returns trigger language plpgsql as
  $$ begin raise exception 'run events are only appended'; end $$;
create trigger run_event_is_final before update or delete on run_event
  for each row execute function run_event_is_final();

create table run_approval (
  run_id   text not null references run,
  step_id  text not null,                -- '': the run
  operator text not null,
  reason   text not null,
  at       timestamptz not null default now(),
  primary key (run_id, step_id, operator)
);

-- Snapshots that nothing may delete: what an old primary held when another one had taken its place.
create table snapshot_lock (
  domain_id   text not null,
  snapshot_id bytea not null check (length(snapshot_id) = 32),
  name        text not null,             -- diverged
  run_id      text not null references run,
  locked_at   timestamptz not null default now(),
  primary key (domain_id, snapshot_id, name)
);
