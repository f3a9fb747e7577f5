-- The vault's index: packs, objects, sessions, snapshots.
--
-- No foreign key leads from here to hosts, sources or domains: these tables are rebuilt from packs alone, and then the
-- fleet's rows come later, from the sealed catalog backup.

-- One row. Collections count up; a session stamps what it needs with the number it found, so that objects are
-- stamped once a collection and not once a backup.
create table vault_collection (
  only_row boolean primary key default true check (only_row),
  epoch bigint not null default 1
);
insert into vault_collection default values;

-- One row for each controller process that may append to packs.
create table vault_writers (
  id uuid primary key,
  expires_at timestamptz not null
);

create sequence vault_pack_sequence;

create table packs (
  sequence bigint primary key,
  id uuid not null unique,
  domain_id uuid not null,
  class text not null check (class in ('nodes', 'content')),
  -- Random, repeated before each record of the pack.
  marker bytea not null check (length(marker) = 16),
  -- open: its writer appends. abandoned: nobody appends, its acknowledged bytes are good, a tail may follow. sealed: with a footer.
  state text not null default 'open' check (state in ('open', 'abandoned', 'sealed')),
  writer_id uuid,
  -- Of records, header included and footer not: everything below this is durable and indexed.
  acknowledged_bytes bigint not null default 0,
  created_at timestamptz not null default now(),
  sealed_at timestamptz,
  -- When damage below acknowledged_bytes, or a missing file, was last seen; null when none is known.
  damaged_at timestamptz
);
create index packs_unsealed on packs (state) where state <> 'sealed';
create index packs_domain on packs (domain_id, sequence);

create table objects (
  domain_id uuid not null,
  id bytea not null check (length(id) = 32),
  kind smallint not null,
  pack_sequence bigint not null,
  -- Of the envelope, after the record's header.
  pack_offset integer not null,
  length_bytes integer not null,
  -- siv[16..32]: who knows it has seen the envelope.
  proof bytea not null check (length(proof) = 16),
  -- The highest collection epoch of a session that needed it.
  epoch bigint not null,
  condemned_at timestamptz,
  -- Its bytes were found damaged or missing. It counts as absent until it is stored again.
  absent_since timestamptz,
  primary key (domain_id, id)
);
create index objects_pack on objects (pack_sequence);
create index objects_absent on objects (domain_id) where absent_since is not null;

create table vault_sessions (
  id uuid primary key,
  domain_id uuid not null,
  host_id uuid not null,
  source_id uuid not null,
  job_id text not null default '',
  state text not null default 'live' check (state in ('live', 'committed')),
  -- Counts the streams that carried this session: only the newest may go on.
  stream integer not null default 1,
  epoch bigint not null,
  base_snapshot_id bytea,
  -- Snapshot records that were sent in this session, proofs and all: only these can be committed.
  record_ids bytea[] not null default '{}',
  new_bytes bigint not null default 0,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index vault_sessions_host on vault_sessions (host_id, expires_at);
create index vault_sessions_expiry on vault_sessions (expires_at);

create table snapshots (
  domain_id uuid not null,
  -- Id of the snapshot record.
  id bytea not null check (length(id) = 32),
  host_id uuid not null,
  source_id uuid not null,
  sequence bigint not null check (sequence > 0),
  previous_id bytea,
  session_id uuid,
  -- The controller's own record of this commit.
  commit_record_id bytea not null,
  committed_at timestamptz not null,
  -- The agent's clock: shown, never compared.
  started_at_ms bigint not null,
  entries bigint not null,
  files bigint not null,
  bytes_total bigint not null,
  bytes_read bigint not null,
  bytes_new bigint not null,
  bytes_stored bigint not null,
  duration_ms bigint not null,
  partial boolean not null,
  warnings_total bigint not null,
  -- Everything it needs stands in packs up to this sequence number.
  highest_pack_sequence bigint not null,
  -- When something that it needs was last found damaged or missing; null when nothing is known to be.
  damaged_at timestamptz,
  primary key (domain_id, id),
  unique (source_id, sequence)
);
