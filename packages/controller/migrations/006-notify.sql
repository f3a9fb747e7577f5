-- What people are told of recovery, and the signed reports of runs.

-- One row for each recipient of a message. It stays after the delivery: it is evidence of who was told what, and when.
create table notification (
  id          text primary key,          -- UUID; the message's id on the wire, so that a second copy can be told from a second message
  key         text not null,             -- of one key, one message to each recipient
  channel     text not null check (channel in ('email', 'webhook', 'none')),  -- none: the contact that was named is nobody
  address     text not null,             -- an e-mail address, a URL, or the name that nobody has
  contact     text not null,             -- the name under which it was found; '': it was named itself
  of_plan     boolean not null,          -- the plan's contact; else the controller's
  domain_id   text references domain,    -- null: the controller's own
  plan_id     text references plan,
  run_id      text,
  template    text not null,
  facts       jsonb not null,
  subject     text not null,
  body        text not null,
  state       text not null check (state in ('waiting', 'sent', 'failed')),
  attempts    int not null default 0,
  next_at     timestamptz not null default now(),
  last_error  text not null default '',
  created_at  timestamptz not null default now(),
  finished_at timestamptz,
  unique (key, channel, address)
);
create index notification_due on notification (next_at) where state = 'waiting';
create index notification_failed on notification (domain_id, finished_at) where state = 'failed';

-- The report of a run that has ended, as it was signed then. Without a foreign key: evidence outlives what it is about.
create table run_report (
  run_id     text primary key,
  domain_id  text not null references domain,
  report     bytea not null,             -- canonical JSON
  signature  bytea not null,             -- Ed25519 over it
  public_key bytea not null,             -- 32 bytes
  signed_at  timestamptz not null default now()
);
