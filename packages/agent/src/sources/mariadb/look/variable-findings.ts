// What a server's settings mean for a backup: a table of what to look at. Pure.

import type { Finding } from '../../../jobs/job.ts';

interface Judgement {
  readonly level: Finding['level'];
  readonly message: string;
  /** What to run or write. */
  readonly remedy: string;
}

interface Rule {
  readonly subject: string;
  readonly judge: (value: string, variables: ReadonlyMap<string, string>) => Judgement | undefined;
}

const OPTION_FILE = 'in the group [mysqld] of /etc/mysql/mariadb.conf.d/50-server.cnf, and restart the server';
const DAY_S = 86_400;

const RULES: readonly Rule[] = [
  {
    subject: 'log_bin',
    judge: (value) =>
      value === 'ON'
        ? undefined
        : {
            level: 'warning',
            message: 'there is no binary log: only bases can be brought back, and nothing in between',
            remedy: `Write log_bin=mysql-bin, binlog_format=ROW and server_id=1 ${OPTION_FILE}.`,
          },
  },
  {
    subject: 'binlog_format',
    judge: (value, variables) =>
      value === 'ROW' || variables.get('log_bin') !== 'ON'
        ? undefined
        : {
            level: 'warning',
            message: `binlog_format is ${value}: statements may have another effect when they are replayed`,
            remedy: 'SET GLOBAL binlog_format = ROW;',
          },
  },
  {
    subject: 'sync_binlog',
    judge: (value, variables) =>
      value === '1' || variables.get('log_bin') !== 'ON'
        ? undefined
        : {
            level: 'warning',
            message: `sync_binlog is ${value}: what the server committed just before a power failure may be missing from its log`,
            remedy: 'SET GLOBAL sync_binlog = 1;',
          },
  },
  {
    subject: 'innodb_flush_log_at_trx_commit',
    judge: (value) =>
      value === '1'
        ? undefined
        : {
            level: 'warning',
            message: `innodb_flush_log_at_trx_commit is ${value}: after a power failure the log may have what the tables have lost`,
            remedy: 'SET GLOBAL innodb_flush_log_at_trx_commit = 1;',
          },
  },
  {
    subject: 'server_id',
    judge: (value, variables) =>
      value !== '0' || variables.get('log_bin') !== 'ON'
        ? undefined
        : {
            level: 'error',
            message: 'server_id is 0: a binary log is sent to nobody',
            remedy: 'SET GLOBAL server_id = 1;',
          },
  },
  {
    subject: 'binlog_checksum',
    judge: (value, variables) =>
      value === 'CRC32' || variables.get('log_bin') !== 'ON'
        ? undefined
        : {
            level: 'warning',
            message: 'binlog_checksum is off: damage of the log on the server is not found when it is followed',
            remedy: 'SET GLOBAL binlog_checksum = CRC32;',
          },
  },
  {
    subject: 'encrypt_binlog',
    judge: (value) =>
      value === 'ON'
        ? {
            level: 'error',
            message: 'the binary log is encrypted, and such a log cannot be followed',
            remedy: `Write encrypt_binlog=OFF ${OPTION_FILE}.`,
          }
        : undefined,
  },
];

export function findingsOfVariables(variables: ReadonlyMap<string, string>, maria: boolean): Finding[] {
  const findings = RULES.map(({ subject, judge }): Finding => {
    const value = variables.get(subject) ?? '';
    const judged = judge(value, variables);
    return judged === undefined
      ? { level: 'ok', subject, message: value === '' ? 'not known to this server' : `is ${value}`, remedy: '' }
      : { ...judged, subject };
  });
  const expiry = expiryFinding(variables);
  const gtid = gtidFinding(variables, maria);
  return [...findings, ...(expiry === undefined ? [] : [expiry]), ...(gtid === undefined ? [] : [gtid])];
}

/** How long the server keeps what an agent that is away has not yet followed. */
function expiryFinding(variables: ReadonlyMap<string, string>): Finding | undefined {
  if (variables.get('log_bin') !== 'ON') return undefined;
  const subject = 'binlog_expire_logs_seconds';
  const seconds = Number(variables.get(subject) ?? 0) || Number(variables.get('expire_logs_days') ?? 0) * DAY_S;
  if (seconds === 0 || seconds >= DAY_S) {
    const kept = seconds === 0 ? 'until they are purged' : `for ${Math.round(seconds / 3600)} hours`;
    return { level: 'ok', subject, message: `binary logs are kept ${kept}`, remedy: '' };
  }
  return {
    level: 'warning',
    subject,
    message: `binary logs are kept for ${seconds} seconds: an agent or a controller that is away longer leaves a gap`,
    remedy: `SET GLOBAL ${variables.has(subject) ? `${subject} = 259200` : 'expire_logs_days = 3'};`,
  };
}

function gtidFinding(variables: ReadonlyMap<string, string>, maria: boolean): Finding | undefined {
  if (variables.get('log_bin') !== 'ON') return undefined;
  if (maria)
    return {
      level: 'ok',
      subject: 'gtid',
      message: `is at ${variables.get('gtid_binlog_pos') || 'nothing yet'}`,
      remedy: '',
    };
  if (variables.get('gtid_mode') === 'ON')
    return { level: 'ok', subject: 'gtid', message: 'gtid_mode is ON', remedy: '' };
  return {
    level: 'warning',
    subject: 'gtid',
    message: 'gtid_mode is not ON: a restore can end at a time or a position, not at a GTID',
    remedy: `Write gtid_mode=ON and enforce_gtid_consistency=ON ${OPTION_FILE}.`,
  };
}
