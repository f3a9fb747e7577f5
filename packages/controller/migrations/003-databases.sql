-- Databases: the pieces of their logs, what is missing of them, where their bases stand, and jobs that only look.
--
-- Like the vault's other tables these have no foreign key to sources: they are rebuilt from packs alone. A position is kept as
-- its order (an unsigned 64-bit number, so numeric) and as the server writes it.

create sequence log_sequence;            -- orders pieces, gaps and runs as they were stored

-- Which stream of messages may store a source's log: the newest. Its row is the lock under which a log grows.
create table log_writer (
  source_id text primary key,
  stream    bigint not null              -- counts the streams: an older one is refused
);

create table log_segment (
  sequence          bigint primary key,
  domain_id         uuid not null,
  host_id           text not null,
  source_id         text not null,
  object_id         bytea not null check (length(object_id) = 32),
  record_id         bytea not null check (length(record_id) = 32), -- the controller's own record of it
  length_bytes      int not null,        -- of the envelope
  system_identifier text not null,
  timeline          bigint not null,
  file              text not null,       -- '': the log itself; else a file that belongs to the stream
  start_order       numeric(20) not null,
  start_text        text not null,
  end_order         numeric(20) not null check (end_order >= start_order),
  end_text          text not null,
  first_commit_at_ms bigint,             -- server's clock, as all that follow
  last_commit_at_ms bigint,
  complete_to_ms    bigint not null,
  marks             text[] not null,
  merged            boolean not null,
  stored_at         timestamptz not null,
  -- A merged piece (or a newer copy of a file) has taken its place. Its object stays until a collection may take it.
  superseded_at     timestamptz
);
create unique index log_segment_live on log_segment (source_id, system_identifier, timeline, file, start_order, end_order)
  where superseded_at is null;
create index on log_segment (domain_id, object_id);
create index log_segment_marks on log_segment using gin (marks) where superseded_at is null and marks <> '{}';
-- To find the piece that holds a time.
create index on log_segment (source_id, last_commit_at_ms) where superseded_at is null and file = '';

-- Unbroken sequences of pieces; between two of a stream is a gap. Derived from the pieces, and kept beside them because a log
-- has a hundred thousand of them and every look at a source asks how far it reaches.
create table log_run (
  source_id         text not null,
  system_identifier text not null,
  timeline          bigint not null,
  start_order       numeric(20) not null,
  start_text        text not null,
  end_order         numeric(20) not null,
  end_text          text not null,
  complete_to_ms    bigint not null,     -- server's clock: everything committed up to then is before the end
  gap_start_order   numeric(20),         -- nothing is stored since the gap that starts here: it may still be told more exactly
  touched           bigint not null,     -- of log_sequence, when it last grew
  primary key (source_id, system_identifier, timeline, start_order)
);

create table log_gap (
  sequence          bigint primary key,
  domain_id         uuid not null,
  host_id           text not null,
  source_id         text not null,
  record_id         bytea,               -- null: found by a rebuild
  system_identifier text not null,
  timeline          bigint not null,
  start_order       numeric(20) not null,
  start_text        text not null,
  end_order         numeric(20) not null check (end_order >= start_order),
  end_text          text not null,
  from_ms           bigint not null,     -- server's clock
  to_ms             bigint not null,     -- 0: not known yet
  reason            text not null,
  stored_at         timestamptz not null,
  unique (source_id, system_identifier, timeline, start_order)
);

-- What a stream goes on from: PostgreSQL's timelines.
create table log_fork (
  source_id         text not null,
  system_identifier text not null,
  timeline          bigint not null,
  parent_system_identifier text not null,
  parent_timeline   bigint not null,
  position_order    numeric(20) not null,
  position_text     text not null,
  primary key (source_id, system_identifier, timeline)
);

-- Where a database's base stands in its log; null for everything else.
alter table snapshot
  add column system_identifier text,
  add column timeline          bigint,
  add column start_order       numeric(20),
  add column start_text        text,
  add column end_order         numeric(20),
  add column end_text          text,
  add column start_at_ms       bigint,   -- server's clock
  add column end_at_ms         bigint,
  add column server_version    text,
  add column suspect           boolean not null default false, -- the server found damaged pages while it was read
  add column has_log           boolean not null default false,
  add column gtid              text;

alter table source
  add column log_status      bytea,       -- LogStatus of the wire, as the agent last said it
  add column log_reported_at timestamptz; -- catalog's clock

-- A check or a discovery may be about a source that isn't there yet.
alter table job alter column source_id drop not null;
alter table job drop constraint job_kind_check;
alter table job add constraint job_kind_check check (kind in ('backup', 'restore', 'verify', 'check', 'discover'));
alter table job add check (source_id is not null or kind in ('check', 'discover'));
