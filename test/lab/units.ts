// The services of a host: there is no systemd, so each is a script that takes start, stop or status (0: it runs).
//
// Process 1 starts those of the host's boot list. `postgres`, `shop` and `nginx` are protected by the plan: they are on no boot list,
// and the agent starts and stops them by the same scripts, which the plan names (`services`).

import { quoted } from '../fleet/shell.ts';
import { CONTROLLER_PORT, machine } from './machines.ts';

export const UNIT_DIR = '/etc/lab/units';
export const PROTECTED_UNITS = ['postgres', 'shop', 'nginx'];
export const CONTROLLER_DIR = '/var/lib/holdfast/controller';
export const AGENT_DIR = '/var/lib/holdfast/agent';
export const DATA_DIR = '/var/lib/postgresql/15/main';
const CATALOG_DIR = '/var/lib/postgresql/15/catalog';
const CATALOG_URL = 'postgres://postgres@/postgres?host=/run/postgresql';
/** Where a second controller on the same catalog listens, when a test starts one. */
export const REPLICA_PORT = 7402;
export const POSTGRES_BIN = '/usr/lib/postgresql/15/bin';

export interface Programs {
  readonly node: string;
  readonly agent: string;
  readonly agentFlags: readonly string[];
  readonly controller: string;
  readonly shop: string;
}

/** Scripts by the unit's name. */
export function unitScripts(programs: Programs): ReadonlyMap<string, string> {
  const { address } = machine('controller');
  const serve = (unit: string, port: number): string =>
    daemon(
      unit,
      [programs.node, programs.controller, 'serve', '--data', CONTROLLER_DIR, '--listen', `${address}:${port}`],
      {
        before: `export DATABASE_URL='${CATALOG_URL}'`,
      },
    );
  return new Map([
    ['catalog', postgres(CATALOG_DIR, CATALOG)],
    ['controller', serve('controller', CONTROLLER_PORT)],
    ['replica', serve('replica', REPLICA_PORT)],
    [
      'agent',
      daemon('agent', [programs.node, ...programs.agentFlags, programs.agent, 'run'], {
        before: `[ -e ${AGENT_DIR}/identity.json ] || exit 0 # not enrolled yet`,
      }),
    ],
    [
      'shop',
      daemon('shop', [programs.node, programs.shop], {
        account: 'shop',
        before: 'install -d -o shop -g shop /var/log/shop || exit 1',
      }),
    ],
    ['nginx', daemon('nginx', ['/usr/sbin/nginx', '-c', '/etc/shop/nginx.conf', '-g', 'daemon off;'])],
    [
      'named',
      daemon('named', ['/usr/sbin/named', '-g', '-u', 'bind', '-c', '/etc/bind/named.conf'], {
        before: 'chown bind: /var/lib/bind',
      }),
    ],
    ['postgres', postgres(DATA_DIR)],
  ]);
}

interface DaemonOptions {
  readonly account?: string;
  /** Shell, run first. */
  readonly before?: string;
}

/** A program that stays in the foreground; its words go to /var/log/UNIT.log. */
function daemon(
  unit: string,
  command: readonly string[],
  { account = 'root', before = ':' }: DaemonOptions = {},
): string {
  const [program, ...words] = command.map(quoted);
  return `#!/bin/sh
pid=/run/${unit}.pid
case $1 in
  start)
    ${before}
    touch /var/log/${unit}.log && chown ${account}: /var/log/${unit}.log || exit 1
    exec start-stop-daemon --start --oknodo --background --make-pidfile --pidfile $pid --chuid ${account} --chdir / \\
      --output /var/log/${unit}.log --startas ${program} -- ${words.join(' ')} ;;
  stop) exec start-stop-daemon --stop --oknodo --remove-pidfile --pidfile $pid --retry TERM/8/KILL/4 ;;
  status) exec start-stop-daemon --status --pidfile $pid ;;
esac
exit 2
`;
}

/** @param first shell, run by `start` before the server's first start: makes the cluster */
function postgres(dataDir: string, first = 'exit 1'): string {
  return `#!/bin/sh
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups --inh-caps=-all "$@"; }
ctl() { as_postgres ${POSTGRES_BIN}/pg_ctl -D ${dataDir} -s "$@"; }
case $1 in
  start)
    [ -e ${dataDir}/PG_VERSION ] || { ${first.trim()}; }
    ctl status >/dev/null && exit 0
    ctl -w -t 60 -l /var/log/postgresql/main.log start ;;
  stop) ctl status >/dev/null || exit 0; ctl -w -t 20 -m fast stop ;;
  status) ctl status >/dev/null ;;
  *) exit 2 ;;
esac
`;
}

/** Not embedded in the controller, because a replica shares it, and because it outlives both. */
const CATALOG = `
    as_postgres ${POSTGRES_BIN}/initdb -D ${CATALOG_DIR}.new -A trust -U postgres -k -E UTF8 --locale=C >/dev/null &&
    printf '%s\\n' "listen_addresses = ''" "unix_socket_directories = '/run/postgresql'" 'shared_buffers = 32MB' 'max_connections = 80' \\
      'jit = off' >>${CATALOG_DIR}.new/postgresql.conf &&
    mv ${CATALOG_DIR}.new ${CATALOG_DIR} || exit 1
`;
