-- Who and what there is: domains, hosts, certificates, sources, jobs, operators, audit.

create table controller_secret (
  name        text primary key,          -- 'ca-key', …
  wrapped     bytea not null,            -- sealed by the controller's master key
  public_part bytea                      -- 'ca-key': the certificate, DER
);

create table domain (
  id             text primary key,       -- UUID; goes into the labels of the domain's keys
  name           text not null unique,
  managed        boolean not null,       -- whether the controller keeps the master secret
  wrapped_secret bytea,                  -- null in a sealed domain
  key_epoch      int not null default 0,
  created_at     timestamptz not null default now(),
  check (managed = (wrapped_secret is not null))
);

create table host (
  id            text primary key,        -- UUID
  domain_id     text not null references domain,
  name          text not null,
  state         text not null check (state in ('waiting', 'enrolled', 'revoked')),
  machine_id    text not null default '',
  agent_version text not null default '',
  os            text not null default '',
  record_key    bytea,                   -- Ed25519 public key of its snapshot records, 32 bytes
  enrolled_at   timestamptz,
  last_seen_at  timestamptz,
  address       text not null default '',
  process_id    text not null default '',
  previous_process_id text not null default '', -- the one before: if it comes back, two machines have this identity
  connection_id text not null default '', -- of the control stream that is open now; '' when there is none
  cloned_at     timestamptz,             -- two live processes had this identity
  created_at    timestamptz not null default now(),
  unique (domain_id, name)
);

create table host_certificate (
  fingerprint text primary key,          -- SHA-256 of the DER, hex
  host_id     text not null references host,
  not_before  timestamptz not null,
  not_after   timestamptz not null,
  revoked_at  timestamptz
);
create index on host_certificate (host_id);

create table enrolment_token (
  secret_hash bytea primary key,         -- SHA-256 of the secret; the secret itself is kept nowhere
  host_id     text not null references host,
  replace     boolean not null,
  expires_at  timestamptz not null,
  used_at     timestamptz,
  used_key_hash bytea                    -- SHA-256 of the public key it was used with: the same host may ask again
);

create table source (
  id            text primary key,        -- UUID
  host_id       text not null references host,
  name          text not null,
  spec          bytea not null,          -- SourceSpec
  watching      text not null default 'off',
  watching_note text not null default '',
  created_at    timestamptz not null default now(),
  removed_at    timestamptz
);
create unique index source_name on source (host_id, name) where removed_at is null;

create table job (
  id          text primary key,          -- UUID
  domain_id   text not null references domain,
  host_id     text not null references host,    -- who works on it
  source_id   text not null references source,  -- what it is about
  kind        text not null check (kind in ('backup', 'restore', 'verify')),
  state       text not null check (state in ('queued', 'running', 'done', 'warnings', 'failed', 'cancelled')),
  request     bytea not null,            -- Job, as the agent gets it
  snapshot_id bytea,
  requested_by text not null,
  created_at  timestamptz not null default now(),
  sent_at     timestamptz,
  lease_until timestamptz,               -- running: renewed by the host's heartbeats
  finished_at timestamptz,
  acknowledged boolean not null default false, -- the agent has said something about it
  cancel_asked boolean not null default false,
  outcome     bytea,                     -- JobOutcome
  error_message text not null default ''
);
create index on job (host_id, created_at) where state in ('queued', 'running');
create index on job (source_id, created_at);
create index on job (domain_id, created_at);
-- One running backup for a source.
create unique index one_backup_a_source on job (source_id) where kind = 'backup' and state in ('queued', 'running');

create table operator (
  id            text primary key,
  name          text not null unique,
  password_hash text,                    -- argon2id; null: tokens only
  created_at    timestamptz not null default now()
);

create table operator_role (
  operator_id text not null references operator on delete cascade,
  domain_id   text not null references domain,
  role        text not null check (role in ('viewer', 'operator', 'approver', 'admin')),
  primary key (operator_id, domain_id)
);

create table api_token (
  id          text primary key,
  secret_hash bytea not null unique,     -- SHA-256; the secrets are random, so no slow hash is needed
  operator_id text not null references operator on delete cascade,
  label       text not null,
  role        text check (role in ('viewer', 'operator', 'approver', 'admin')), -- ceiling; null: the operator's own
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null,
  revoked_at  timestamptz
);

create table audit (
  sequence  bigint primary key,
  at        timestamptz not null,
  domain_id text,                        -- null: the controller as a whole
  actor     text not null,
  action    text not null,
  subject   text not null,
  hash      bytea not null               -- SHA-256 over the previous row's hash and this row
);
create index on audit (domain_id, sequence);
