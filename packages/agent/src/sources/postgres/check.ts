// What stands for and against protecting a PostgreSQL server: each finding with the very words to run.
//
// Reads, and changes nothing. What a look at the server means is decided in `findingsOf`, which is pure (check.test.ts).

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { Client } from 'pg';
import type { EngineSpec, Finding } from '../../jobs/job.ts';
import type { LookDeps } from '../engine.ts';
import { settingFindings } from '../setting-values.ts';
import { askServer, OLDEST_VERSION, type ServerFacts } from './base/server-facts.ts';
import { addressOf, applicationNameOf, connect, hbaHint, quoted } from './connection.ts';
import { addressText, type ServerAddress } from './dsn.ts';
import { waitsForUs } from './log/slot-safety.ts';
import { logSettings, SETTINGS } from './settings.ts';

/** Versions that this was tested with end here; newer ones may speak otherwise. */
const NEWEST_KNOWN_MAJOR = 18;

/** What was asked of a server. */
export interface ServerState {
  readonly facts: ServerFacts;
  readonly role: {
    readonly name: string;
    readonly replication: boolean;
    readonly superuser: boolean;
    readonly monitor: boolean;
  };
  readonly settings: Readonly<Record<string, string>>;
  readonly sendersUsed: number;
  readonly slotsUsed: number;
  readonly databases: number;
  readonly bytes: number;
}

const ASKED = [
  'wal_level',
  'max_wal_senders',
  'max_replication_slots',
  'max_slot_wal_keep_size',
  'data_checksums',
  'full_page_writes',
  'fsync',
  'synchronous_standby_names',
  'wal_sender_timeout',
] as const;

export async function checkServer(source: EngineSpec, { signal }: LookDeps): Promise<Finding[]> {
  const { settings } = source.engine;
  const wrong = settingFindings(SETTINGS, settings);
  if (wrong.length > 0) return wrong;
  let client: Client | undefined;
  const applicationName = applicationNameOf(source.sourceId);
  try {
    logSettings(settings);
    const address = addressOf(settings);
    client = await connect(address, { kind: 'ordinary', applicationName });
    signal.throwIfAborted();
    const state = await stateOf(client);
    return [...findingsOf(address, state, applicationName), await replicationFinding(address, applicationName, state)];
  } catch (thrown) {
    return [errorFinding('connection', thrown)];
  } finally {
    await client?.end().catch(() => undefined);
  }
}

async function stateOf(client: Client): Promise<ServerState> {
  const facts = await askServer(client);
  const { rows: named } = await client.query<{ name: string; setting: string }>(
    'select name, setting from pg_settings where name = any($1)',
    [ASKED],
  );
  const { rows } = await client.query<{
    user: string;
    replication: boolean;
    super: boolean;
    monitor: boolean;
    senders: string;
    slots: string;
    databases: string;
    bytes: string;
  }>(`select current_user as user, rolreplication as replication, rolsuper as super,
        pg_has_role('pg_monitor', 'usage') as monitor,
        (select count(*) from pg_stat_replication) as senders,
        (select count(*) from pg_replication_slots) as slots,
        (select count(*) from pg_database where datallowconn) as databases,
        case when pg_has_role('pg_monitor', 'usage') then (select coalesce(sum(pg_database_size(oid)), 0) from pg_database) else 0 end as bytes
      from pg_roles where rolname = current_user`);
  const row = rows[0];
  if (row === undefined) throw new HoldfastError('INTERNAL', 'the server does not know who is connected');
  return {
    facts,
    role: { name: row.user, replication: row.replication, superuser: row.super, monitor: row.monitor },
    settings: Object.fromEntries(named.map(({ name, setting }) => [name, setting])),
    sendersUsed: Number(row.senders),
    slotsUsed: Number(row.slots),
    databases: Number(row.databases),
    bytes: Number(row.bytes),
  };
}

/** Pure. */
export function findingsOf(address: ServerAddress, state: ServerState, applicationName: string): Finding[] {
  const { facts } = state;
  const size = state.bytes === 0 ? '' : `, ${Math.round(state.bytes / 1024 ** 2).toLocaleString('en')} MiB`;
  const counted = state.databases === 1 ? '1 database' : `${state.databases} databases`;
  const what = facts.inRecovery ? 'a standby, ' : '';
  return [
    ok('connection', `PostgreSQL ${facts.version} at ${addressText(address)}: ${what}${counted}${size}`),
    versionFinding(facts),
    ...roleFindings(state),
    ...walFindings(state),
    ...safetyFindings(state, applicationName),
  ];
}

function versionFinding({ version, versionNumber }: ServerFacts): Finding {
  if (versionNumber < OLDEST_VERSION) return error('version', `${version} is older than 13`, 'Upgrade the server.');
  if (Math.floor(versionNumber / 10_000) <= NEWEST_KNOWN_MAJOR) return ok('version', version);
  return warning('version', `${version} is newer than this agent knows`, 'Update the agent.');
}

function roleFindings({ role }: ServerState): Finding[] {
  const name = quoted(role.name);
  const replication =
    role.replication || role.superuser
      ? ok('role', `${role.name} may replicate`)
      : error('role', `${role.name} may not replicate`, `ALTER ROLE ${name} REPLICATION;`);
  const monitor =
    role.monitor || role.superuser
      ? ok('role', `${role.name} may look at the server’s state`)
      : warning(
          'role',
          `${role.name} can't see the server’s state: lag and the slot’s safety stay partly unknown`,
          `GRANT pg_monitor TO ${name};`,
        );
  return [replication, monitor];
}

function walFindings({ settings, sendersUsed, slotsUsed }: ServerState): Finding[] {
  const level = settings['wal_level'] ?? '';
  const senders = Number(settings['max_wal_senders']) - sendersUsed;
  const slots = Number(settings['max_replication_slots']) - slotsUsed;
  return [
    level === 'minimal'
      ? error('wal_level', 'the log is minimal: nothing can be replayed from it', restartWith('wal_level', 'replica'))
      : ok('wal_level', level),
    // One follows the log; a base takes another.
    senders < 2
      ? error(
          'max_wal_senders',
          `${Math.max(0, senders)} of ${settings['max_wal_senders']} are free; a base and the log take 2`,
          restartWith('max_wal_senders', String(sendersUsed + 4)),
        )
      : ok('max_wal_senders', `${senders} free`),
    slots < 1
      ? error(
          'max_replication_slots',
          `none of ${settings['max_replication_slots']} is free`,
          restartWith('max_replication_slots', String(slotsUsed + 4)),
        )
      : ok('max_replication_slots', `${slots} free`),
  ];
}

function safetyFindings({ settings, facts }: ServerState, applicationName: string): Finding[] {
  const findings: Finding[] = [];
  if (waitsForUs(settings['synchronous_standby_names'] ?? '', applicationName)) {
    findings.push(
      error(
        'synchronous_standby_names',
        'it matches the agent: every commit would wait for the backup',
        `ALTER SYSTEM SET synchronous_standby_names = 'the names of your standbys';\nSELECT pg_reload_conf();`,
      ),
    );
  }
  if (settings['max_slot_wal_keep_size'] === '-1') {
    findings.push(
      warning(
        'max_slot_wal_keep_size',
        'it is unset: while the agent does not run, the server keeps log for it until its disk is full',
        `ALTER SYSTEM SET max_slot_wal_keep_size = '16GB';\nSELECT pg_reload_conf();`,
      ),
    );
  }
  if (settings['data_checksums'] === 'off') {
    findings.push(
      warning(
        'data_checksums',
        'they are off: a page that the disk corrupted is backed up as if it were good',
        'Stop the server, then run: pg_checksums --enable -D DATA-DIRECTORY',
      ),
    );
  }
  for (const name of ['full_page_writes', 'fsync']) {
    if (settings[name] !== 'off') continue;
    findings.push(
      warning(
        name,
        'it is off: a power failure may corrupt the database',
        `ALTER SYSTEM SET ${name} = on;\nSELECT pg_reload_conf();`,
      ),
    );
  }
  if (facts.inRecovery && settings['full_page_writes'] === 'off') {
    findings.push(error('full_page_writes', 'a standby can be backed up only while its primary writes full pages', ''));
  }
  return findings;
}

/** Whether pg_hba.conf lets a replication connection in: it is a database of its own there. */
async function replicationFinding(
  address: ServerAddress,
  applicationName: string,
  { role }: ServerState,
): Promise<Finding> {
  let client: Client | undefined;
  try {
    client = await connect(address, { kind: 'replication', applicationName });
    await client.query('IDENTIFY_SYSTEM');
    return ok('replication', 'the log can be followed');
  } catch (thrown) {
    if (!role.replication && !role.superuser) {
      return error('replication', 'the log cannot be followed without the right to', hbaHint(address, 'replication'));
    }
    return errorFinding('replication', thrown);
  } finally {
    await client?.end().catch(() => undefined);
  }
}

function errorFinding(subject: string, thrown: unknown): Finding {
  const { message, hint } = toHoldfastError(thrown);
  return error(subject, message, hint);
}

function restartWith(name: string, value: string): string {
  return `ALTER SYSTEM SET ${name} = '${value}';\nthen restart the server`;
}

function ok(subject: string, message: string): Finding {
  return { level: 'ok', subject, message, remedy: '' };
}
function warning(subject: string, message: string, remedy: string): Finding {
  return { level: 'warning', subject, message, remedy };
}
function error(subject: string, message: string, remedy: string): Finding {
  return { level: 'error', subject, message, remedy };
}
