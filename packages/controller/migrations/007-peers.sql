-- Where a host's agent answers other hosts' agents: host:port, as it said last.
alter table host add column peer_addresses text[] not null default '{}';
