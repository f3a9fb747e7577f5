-- Recovery plans, their revisions and secrets, and who serves each application.

create table plan (
  id          text primary key,          -- UUID; also the application's
  domain_id   text not null references domain,
  name        text not null,
  revision    int not null,              -- the newest
  created_at  timestamptz not null default now(),
  removed_at  timestamptz
);
create unique index plan_name on plan (domain_id, name) where removed_at is null;

create table plan_revision (
  plan_id    text not null references plan,
  revision   int not null,
  document   text not null,              -- YAML, as it was applied
  applied_at timestamptz not null default now(),
  applied_by text not null,
  primary key (plan_id, revision)
);

create table plan_secret (
  domain_id text not null references domain,
  name      text not null,
  wrapped   bytea not null,              -- sealed by the controller's master key
  set_at    timestamptz not null default now(),
  primary key (domain_id, name)
);

-- One row for each plan: packages/shared/src/failover/lease-row.ts says what each column means and how it may change.
create table application (
  plan_id      text primary key references plan,
  identity     text not null,            -- of the catalog that both hosts reported to last
  phase        text not null check (phase in ('open', 'withdrawn', 'ordered')),
  primary_host text not null references host,
  standby_host text not null references host,
  epoch        bigint not null,
  next_epoch   bigint not null,
  grant_seq    bigint not null,
  attempt      bigint not null,
  serial       bigint not null,
  disarmed     bigint not null,
  order_serial bigint not null,
  confirmed    boolean not null,
  automatic    boolean not null,
  driver       text not null,            -- the replica that drives it, and its runs
  term         bigint not null,
  beat         bigint not null,
  check (primary_host <> standby_host)
);
