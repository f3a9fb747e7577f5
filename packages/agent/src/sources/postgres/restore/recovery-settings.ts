// What a restored server is told: where to get its log from, where to stop, and what of its old life it must leave alone. Pure.
//
// Hazard: a restored server that acts as the old one. It would send its log to the old archive and overwrite what is there, wait
// for standbys that are not its own, follow the old primary, clean the old archive up, run what the old one ran when it took over,
// or take changes that a publisher keeps for the old one. All of that is switched off in the last words of postgresql.auto.conf,
// which win over everything in the files before.
//
// Source: https://www.postgresql.org/docs/current/runtime-config-wal.html#RUNTIME-CONFIG-WAL-RECOVERY-TARGET

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogStream, RecoveryTarget } from '@holdfast/shared/format/log-point';
import { parseLsn } from '../log/lsn.ts';

const BEGIN = '# --- holdfast: written by a restore; what stands here wins over what stands before ---';
const END = '# --- holdfast: end ---';

export interface RecoveryOrder {
  readonly target: RecoveryTarget;
  /** Whose history reaches the target; undefined: without a log, the base alone. */
  readonly stream: LogStream | undefined;
  readonly toEndOfLog: boolean;
  /** Tablespaces may be directories in pg_tblspc, which a server takes for damage unless it is told. */
  readonly tablespacesInPlace: boolean;
}

const NOT_THE_OLD_ONE = {
  archive_mode: 'off',
  primary_conninfo: '',
  primary_slot_name: '',
  synchronous_standby_names: '',
  archive_cleanup_command: '',
  recovery_end_command: '',
  // A subscription of the old server is one of this one, too, and would use up its slot at the publisher.
  max_logical_replication_workers: '0',
} as const;

/** The lines to put at the end of postgresql.auto.conf. Throws INVALID_ARGUMENT for a target that PostgreSQL has not. */
export function recoverySettings(order: RecoveryOrder): string {
  const settings: Record<string, string> = {
    restore_command: `sh ${FETCH_SCRIPT} "%f" "%p"`,
    ...targetOf(order),
    recovery_target_inclusive: 'on',
    recovery_target_action: 'promote',
    recovery_target_timeline: order.stream === undefined ? 'current' : String(order.stream.timeline),
    ...NOT_THE_OLD_ONE,
    ...(order.tablespacesInPlace ? { allow_in_place_tablespaces: 'on' } : {}),
  };
  return settingsBlock(settings);
}

/** What a standby is told that gets its log from `conninfo`, on and on. */
export function standbySettings(conninfo: string, tablespacesInPlace: boolean): string {
  return settingsBlock({
    ...NOT_THE_OLD_ONE,
    primary_conninfo: conninfo,
    recovery_target_timeline: 'latest',
    wal_retrieve_retry_interval: '250ms',
    wal_receiver_status_interval: '1s',
    wal_receiver_timeout: '30s',
    // Nothing else bounds what it keeps of the log.
    wal_keep_size: '0',
    ...(tablespacesInPlace ? { allow_in_place_tablespaces: 'on' } : {}),
  });
}

/** What a server is told that was such a standby, and serves now. */
export function promotedSettings(tablespacesInPlace: boolean): string {
  return settingsBlock({ ...NOT_THE_OLD_ONE, ...(tablespacesInPlace ? { allow_in_place_tablespaces: 'on' } : {}) });
}

function settingsBlock(settings: Readonly<Record<string, string>>): string {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
  return [BEGIN, ...lines, END, ''].join('\n');
}

/** `text` without what an earlier restore wrote, by whichever tool: a server refuses two targets, even where one is empty. */
export function withoutRecoverySettings(text: string): string {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END, begin);
  const rest = begin < 0 ? text : text.slice(0, begin) + (end < 0 ? '' : text.slice(end + END.length));
  return rest
    .split('\n')
    .filter((line) => !/^\s*(recovery_target\w*|restore_command)\s*=/.test(line))
    .join('\n');
}

function targetOf({ target, toEndOfLog }: RecoveryOrder): Record<string, string> {
  if (toEndOfLog || target.kind === 'latest') return {};
  if (target.kind === 'base') return { recovery_target: 'immediate' };
  if (target.kind === 'name') return { recovery_target_name: target.name };
  // Up to and including the last microsecond of that millisecond.
  if (target.kind === 'time')
    return { recovery_target_time: new Date(target.atMs).toISOString().replace('Z', '999+00') };
  if (target.kind === 'position') {
    parseLsn(target.text);
    return { recovery_target_lsn: target.text };
  }
  throw new HoldfastError('INVALID_ARGUMENT', 'PostgreSQL has no GTIDs', {
    hint: 'Give --at, --lsn or --name instead.',
  });
}

/** In the data directory: where log files wait for the server, and what fetches them. */
export const LOG_FOLDER = 'holdfast_wal';
export const FETCH_SCRIPT = `${LOG_FOLDER}/fetch`;
/** Its content is the process id of the agent that brings files while the server asks for them. */
export const FEEDING_FILE = `${LOG_FOLDER}/feeding`;
export const ASKED_FOLDER = `${LOG_FOLDER}/asked`;

/**
 * The restore_command: POSIX shell alone, run in the data directory. A file that is there is taken. While an agent feeds, one that
 * is not is asked for and waited for; the agent says of what it has not that it is missing. An agent that died feeds no more: that
 * is no end of the log but the end of the recovery (a status above 125 is, for the server), or it would be up too early.
 */
export const FETCH_TEXT = `#!/bin/sh
# Written by a restore of Holdfast: gives the server the log files that it asks for. $1: its name; $2: where it wants it.
folder=${LOG_FOLDER}
case "$1" in *[!0-9A-Za-z._-]*) exit 1 ;; esac
while :; do
  if [ -f "$folder/$1" ]; then
    if [ -f "${FEEDING_FILE}" ]; then mv "$folder/$1" "$2"; else cp "$folder/$1" "$2"; fi
    exit
  fi
  [ -f "$folder/$1.missing" ] && exit 1
  agent=$(cat "${FEEDING_FILE}" 2>/dev/null) || exit 1
  [ -d "/proc/$agent" ] || { echo "the Holdfast agent that gave the log ended: restore again" >&2; exit 200; }
  : >"${ASKED_FOLDER}/$1" || exit 1
  sleep 0.05
done
`;
