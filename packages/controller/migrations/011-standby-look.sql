-- What a standby said last of the places that a plan's restores go to: is there room, may it be written there?

create table standby_look (
  plan_id   text not null references plan,
  step_id   text not null,
  host_id   text not null references host,
  looked_at timestamptz not null,
  ok        boolean not null,
  message   text not null,
  remedy    text not null,
  primary key (plan_id, step_id)
);
