-- What standbys keep of their plans' sources: how far each copy is, and the job that works on it.

create table warm_copy (
  plan_id      text not null references plan,
  source_id    text not null references source, -- of the primary
  host_id      text not null references host,   -- that keeps it
  kind         text not null check (kind in ('files', 'postgres')),
  target       text not null,
  job_id       text references job,             -- null: none is under way
  wanted       bytea,                           -- the snapshot that the job brings
  wanted_timeline int not null default 0,
  wanted_grant_until timestamptz,
  applied      bytea,                           -- the newest that was brought; null: none yet
  applied_at   timestamptz,
  timeline     int not null default 0,          -- postgres: of the log, as the host was last told
  grant_until  timestamptz,                     -- postgres: how long the host may read the log
  failures     int not null default 0,          -- in a row
  tried_at     timestamptz,
  error        text not null default '',        -- of the last try, for people
  -- postgres: what the host says
  state        text not null default '',        -- restoring | replaying | finished | broken
  replayed     numeric,                         -- order of the position
  complete_to_ms bigint not null default 0,     -- the server's clock
  note         text not null default '',
  reported_at  timestamptz,
  primary key (plan_id, source_id)
);
