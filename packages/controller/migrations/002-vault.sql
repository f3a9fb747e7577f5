-- The vault's index: packs, objects, sessions, snapshots.
--
-- No foreign key leads from here to hosts, sources or domains: these tables are rebuilt from packs alone, and then the
-- fleet's rows come later, from the sealed catalog backup. The large tables hold the domain's UUID as uuid (16 bytes a row,
-- not 37); the others as text, like the fleet's tables.

create table vault_collection (
  only_row boolean primary key default true check (only_row),
  epoch    bigint not null default 1,    -- counts collections; a session stamps what it needs with the number that it found
  target_id uuid                         -- stands in a file on the target, too: an empty mount point is not taken for it
);
insert into vault_collection default values;

-- One row for each controller process that may append to packs.
create table vault_writer (
  id         uuid primary key,
  expires_at timestamptz not null
);

create sequence vault_pack_sequence;

create table pack (
  sequence    bigint primary key,
  id          uuid not null unique,
  domain_id   uuid not null,
  class       text not null check (class in ('nodes', 'content')),
  marker      bytea not null check (length(marker) = 16), -- random, repeated before each of its records
  -- open: its writer appends. abandoned: nobody appends; its acknowledged bytes are good, a tail may follow. sealed: with a footer.
  state       text not null check (state in ('open', 'abandoned', 'sealed')),
  writer_id   uuid,
  acknowledged_bytes bigint not null default 0, -- header and records, not the footer: everything below is durable and indexed
  created_at  timestamptz not null default now(),
  sealed_at   timestamptz,
  damaged_at  timestamptz                -- when damage below acknowledged_bytes was last seen; null: none is known
);
create index on pack (state) where state <> 'sealed';
create index on pack (domain_id, sequence);

create table object (
  domain_id     uuid not null,
  id            bytea not null check (length(id) = 32),
  kind          smallint not null,
  pack_sequence bigint not null,
  pack_offset   int not null,            -- of the envelope
  length_bytes  int not null,
  proof         bytea not null check (length(proof) = 16), -- siv[16..32]: who knows it has seen the envelope
  epoch         bigint not null,         -- the highest collection epoch of a session that needed it
  condemned_at  timestamptz,
  absent_since  timestamptz,             -- its bytes were found damaged or missing: absent until it is stored again
  primary key (domain_id, id)
);
create index on object (pack_sequence);
create index on object (domain_id) where absent_since is not null;

create table vault_session (
  id               text primary key,     -- UUID
  domain_id        text not null,
  host_id          text not null,
  source_id        text not null,
  job_id           text not null,
  state            text not null check (state in ('live', 'committed')),
  stream           int not null default 1, -- counts the streams that carried it: only the newest may go on
  epoch            bigint not null,
  base_snapshot_id bytea,
  record_ids       bytea[] not null default '{}', -- snapshot records sent in this session, proofs and all: only these can be committed
  new_bytes        bigint not null default 0,
  created_at       timestamptz not null default now(),
  expires_at       timestamptz not null
);
create index on vault_session (host_id, expires_at);
create index on vault_session (expires_at);

create table snapshot (
  domain_id        text not null,
  id               bytea not null check (length(id) = 32), -- of the snapshot record
  host_id          text not null,
  source_id        text not null,
  sequence         bigint not null check (sequence > 0),
  previous_id      bytea,
  session_id       text,                 -- null after a rebuild
  commit_record_id bytea not null,       -- the controller's own record of this commit
  committed_at     timestamptz not null,
  started_at_ms    bigint not null,      -- the agent's clock: shown, never compared
  entries          bigint not null,
  files            bigint not null,
  bytes_total      bigint not null,
  bytes_read       bigint not null,
  bytes_new        bigint not null,
  bytes_stored     bigint not null,
  duration_ms      bigint not null,
  partial          boolean not null,
  warnings_total   bigint not null,
  highest_pack_sequence bigint not null, -- everything it needs stands in packs up to this one
  damaged_at       timestamptz,          -- when something that it needs was last found damaged or missing; null: nothing known
  primary key (domain_id, id),
  unique (source_id, sequence)
);
