// The shop as its people would have set it up on web-1: account, files, cluster, schema.
//
// web-2 gets nothing of it: what it needs to serve, a plan has to bring.

import { existsSync } from 'node:fs';
import { onDisk, putOnDisk } from './host-disk.ts';
import type { Lab } from './lab.ts';
import { SERVICE_ADDRESS } from './machines.ts';
import { DATA_DIR, POSTGRES_BIN, PROTECTED_UNITS } from './units.ts';

const PRIMARY = 'web-1';
const SHOP_PORT = 8080;

/** Account, files, cluster and schema; does nothing where they are. The cluster runs afterwards. */
export async function installShop(lab: Lab): Promise<void> {
  const host = lab.host(PRIMARY);
  const { address } = host;
  if (existsSync(onDisk(lab.layout, PRIMARY, '/etc/shop/installed'))) return;
  deployTools(lab, PRIMARY);
  await host.ok('sh', '-ec', installation(address));
}

function deployTools(lab: Lab, host: string): void {
  const client = 'psql -qtU shop -h /run/postgresql shop';
  const put = (name: string, text: string, mode: number): void =>
    putOnDisk(lab.layout, host, `/opt/shop/${name}`, text, mode);
  put('schema.sql', SCHEMA, 0o644);
  put('migrate', `#!/bin/sh\nexec ${client} -f /opt/shop/schema.sql\n`, 0o755);
  put('is-migrated', `#!/bin/sh\nexec ${client} -c 'SELECT FROM orders LIMIT 0' >/dev/null\n`, 0o755);
}

/** Where no plan says who serves: by hand, on web-1. */
export async function serveByHand(lab: Lab): Promise<void> {
  const host = lab.host(PRIMARY);
  for (const unit of PROTECTED_UNITS) await host.unit(unit, 'start');
  await host.ok('ip', 'addr', 'replace', `${SERVICE_ADDRESS}/24`, 'dev', 'eth0');
}

const SCHEMA = `CREATE TABLE IF NOT EXISTS orders (
  id uuid PRIMARY KEY,
  item text NOT NULL,
  host text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
`;

/**
 * Few processes and little memory, but everything is written durably. The shop comes by TCP, so that the gate stands between it and its
 * database, too; only people and the agent use the socket.
 */
const POSTGRES_SETTINGS = `listen_addresses = '127.0.0.1'
unix_socket_directories = '/run/postgresql'
shared_buffers = 16MB
max_connections = 30
max_wal_senders = 6
max_replication_slots = 6
wal_level = replica
fsync = on
autovacuum_max_workers = 1
max_parallel_workers = 0
max_logical_replication_workers = 0
jit = off
max_slot_wal_keep_size = 1GB
`;

function installation(address: string): string {
  return `
# Whoever ran this before may have been killed, and this not.
exec 9>/run/lab/installing
flock 9
useradd --system --home-dir /srv/shop --shell /usr/sbin/nologin shop 2>/dev/null || id shop >/dev/null
install -d -o shop -g shop /srv/shop /srv/shop/files
mkdir -p /etc/shop
cat >/etc/shop/config.ini <<'END'
bind = ${address}
port = ${SHOP_PORT}
database = 127.0.0.1
files = /srv/shop/files
END
cat >/etc/shop/nginx.conf <<'END'
user www-data;
worker_processes 1;
pid /run/nginx-shop.pid;
error_log /var/log/nginx/error.log warn;
events { worker_connections 256; }
http {
  access_log off;
  server {
    listen 80;
    location / {
      proxy_pass http://${address}:${SHOP_PORT};
      proxy_connect_timeout 1s;
      proxy_read_timeout 4s;
    }
  }
}
END
if [ ! -e ${DATA_DIR}/PG_VERSION ]; then
  rm -rf ${DATA_DIR}.new
  setpriv --reuid=postgres --regid=postgres --clear-groups ${POSTGRES_BIN}/initdb -D ${DATA_DIR}.new -A trust -U postgres -k -E UTF8 --locale=C >/dev/null
  cat >>${DATA_DIR}.new/postgresql.conf <<'END'
${POSTGRES_SETTINGS}END
  mv ${DATA_DIR}.new ${DATA_DIR}
fi
/etc/lab/units/postgres start 9>&-
ask() { psql -qtAU postgres -h /run/postgresql "$@"; }
ask -c "SELECT 1 FROM pg_roles WHERE rolname = 'shop'" | grep -q . || ask -c 'CREATE ROLE shop LOGIN'
ask -c "SELECT 1 FROM pg_roles WHERE rolname = 'holdfast'" | grep -q . || {
  ask -c 'CREATE ROLE holdfast LOGIN REPLICATION'
  ask -c 'GRANT pg_monitor, pg_read_all_data TO holdfast'
}
ask -c "SELECT 1 FROM pg_database WHERE datname = 'shop'" | grep -q . || ask -c 'CREATE DATABASE shop OWNER shop'
/opt/shop/migrate
touch /etc/shop/installed
`;
}
