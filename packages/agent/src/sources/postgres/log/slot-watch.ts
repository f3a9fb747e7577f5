// Looks at our slot and at the server, over an ordinary connection: what the slot keeps, who waits for us, how far the log is.
//
// Elsewhere on purpose: what follows from it is decided in slot-safety.ts and start-plan.ts.

import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Client } from 'pg';
import { withoutPageHeader } from './completeness.ts';
import { parseLsn } from './lsn.ts';
import { serverError, sqlStateOf } from './server-connection.ts';
import type { DiskSight, SlotSight } from './slot-safety.ts';

/** Ways to one server. */
export interface ServerAccess {
  /** What its connections are called in pg_stat_replication. */
  readonly applicationName: string;
  /** Its files may be on this host. */
  readonly local: boolean;
  /** A connection, made; throws a HoldfastError or the driver's error. */
  connect(kind: 'ordinary' | 'replication'): Promise<Client>;
}

export interface ServerLook {
  /** Server's clock, Unix ms. On a standby the primary's, as the standby heard it last; undefined: not known. */
  readonly clockMs: number | undefined;
  /** Everything that was written when its clock showed `clockMs` is before this. */
  readonly end: bigint;
  readonly standby: boolean;
  readonly standbyNames: string;
  /** Size of its log files. */
  readonly fileBytes: number;
  readonly senderTimeoutMs: number;
  readonly slot: (SlotSight & { readonly restart: bigint | undefined }) | undefined;
  readonly disk: DiskSight | undefined;
}

const LOOK = `
  select extract(epoch from clock_timestamp()) * 1000 as now_ms, server.standby, server.log_end::text,
         current_setting('synchronous_standby_names') as standby_names,
         pg_size_bytes(current_setting('wal_segment_size')) as file_bytes,
         (select setting from pg_settings where name = 'wal_block_size') as page_bytes,
         (select setting from pg_settings where name = 'wal_sender_timeout') as sender_timeout_ms,
         (select setting from pg_settings where name = 'data_directory') as data_directory,
         slot.slot_name, slot.restart_lsn::text, slot.wal_status, slot.safe_wal_size, slot.active,
         pg_wal_lsn_diff(server.log_end, slot.restart_lsn) as retained
    from (select pg_is_in_recovery() as standby,
                 case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                      else pg_current_wal_insert_lsn() end as log_end) server
    left join pg_replication_slots slot on slot.slot_name = $1`;

/** Of a standby: what its primary said last. */
const PRIMARY = `
  select latest_end_lsn::text as log_end, extract(epoch from last_msg_send_time) * 1000 as sent_ms from pg_stat_wal_receiver`;

type Row = Readonly<Record<string, string | boolean | null>>;
const RAW = { getTypeParser: () => (value: string) => value };

/** @param local the server's files may be on this host */
export async function lookAtServer(client: Client, slotName: string, local: boolean): Promise<ServerLook> {
  const row = await onlyRow(client, LOOK, [slotName]);
  const standby = row['standby'] === 't';
  const fileBytes = Number(row['file_bytes']);
  const end = withoutPageHeader(parseLsn(String(row['log_end'])), Number(row['page_bytes']), fileBytes);
  return {
    clockMs: standby ? undefined : Number(row['now_ms']),
    end,
    standby,
    standbyNames: String(row['standby_names'] ?? ''),
    fileBytes,
    senderTimeoutMs: Number(row['sender_timeout_ms'] ?? 0),
    slot: slotOf(row),
    disk: local && typeof row['data_directory'] === 'string' ? await diskOf(row['data_directory']) : undefined,
  };
}

/** Of a standby: up to where its primary had sent when its clock showed `clockMs`. Undefined when it receives nothing. */
export async function lookAtPrimary(client: Client): Promise<{ end: bigint; clockMs: number } | undefined> {
  const row = await onlyRow(client, PRIMARY, []).catch(() => undefined);
  const end = row?.['log_end'];
  const sent = row?.['sent_ms'];
  return typeof end === 'string' && typeof sent === 'string'
    ? { end: parseLsn(end), clockMs: Number(sent) }
    : undefined;
}

async function onlyRow(client: Client, text: string, values: readonly string[]): Promise<Row> {
  try {
    const { rows } = await client.query<Record<string, string | null>>({ text, values: [...values], types: RAW });
    return rows[0] ?? {};
  } catch (error) {
    throw serverError(error);
  }
}

function slotOf(row: Row): ServerLook['slot'] {
  if (typeof row['slot_name'] !== 'string') return undefined;
  const restart = row['restart_lsn'];
  return {
    restart: typeof restart === 'string' ? parseLsn(restart) : undefined,
    retainedBytes: Math.max(0, Number(row['retained'] ?? 0)),
    walStatus: String(row['wal_status'] ?? (typeof restart === 'string' ? 'reserved' : 'lost')),
    safeBytes: typeof row['safe_wal_size'] === 'string' ? Number(row['safe_wal_size']) : undefined,
    active: row['active'] === 't',
  };
}

/** Of the log's file system, if this process can see it. */
async function diskOf(dataDirectory: string): Promise<DiskSight | undefined> {
  for (const path of [join(dataDirectory, 'pg_wal'), dataDirectory]) {
    try {
      const { bsize, blocks, bavail } = await statfs(path);
      return { sizeBytes: bsize * blocks, freeBytes: bsize * bavail };
    } catch {
      // Another user's directory, or another machine's: the bound by bytes holds all the same.
    }
  }
  return undefined;
}

const DROP_TRIES = 20;
const DROP_WAIT_MS = 100;
/** Somebody still streams from it. */
const IN_USE = '55006';

/** The stream that used it ends a moment later. Throws a HoldfastError when it does not. */
export async function dropSlotOn(client: Client, slotName: string, clock: Clock): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await client.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1', [
        slotName,
      ]);
      return;
    } catch (thrown) {
      const error = serverError(thrown);
      if (tries >= DROP_TRIES || sqlStateOf(error) !== IN_USE) throw error;
    }
    await sleep(clock, DROP_WAIT_MS);
  }
}

/** The same, over a connection of its own. */
export async function dropSlot(access: ServerAccess, slotName: string, clock: Clock): Promise<void> {
  const client = await access.connect('ordinary');
  try {
    await dropSlotOn(client, slotName, clock);
  } finally {
    await client.end();
  }
}
