// What stands for and against backing a Redis server up, and the servers that run on this host.

import { existsSync } from 'node:fs';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { DiscoveredSource, Finding } from '../../jobs/job.ts';
import { hostFiles } from '../blueprint/host-files.ts';
import type { LookDeps } from '../engine.ts';
import { RedisConnection } from './connection.ts';
import { addressText, parseDsn } from './dsn.ts';

/** @param dsn of the source */
export async function serverFindings(dsn: string, { signal }: LookDeps): Promise<Finding[]> {
  let connection: RedisConnection | undefined;
  try {
    const address = parseDsn(dsn);
    connection = await RedisConnection.open(address, signal);
    const info = infoFields(String(await connection.command('INFO')));
    const version = info.get('redis_version') ?? '?';
    const memory = info.get('used_memory_human') ?? '?';
    return [
      {
        level: 'ok',
        subject: 'connection',
        message: `Redis ${version} at ${addressText(address)}, ${memory}`,
        remedy: '',
      },
      await syncFinding(connection),
      ...(await settingFindingsOf(connection)),
      ...roleFindings(info),
    ];
  } catch (thrown) {
    const { message, hint } = toHoldfastError(thrown);
    return [{ level: 'error', subject: 'connection', message, remedy: hint }];
  } finally {
    connection?.close();
  }
}

/** The rights that a replica needs; asked without becoming one. */
async function syncFinding(connection: RedisConnection): Promise<Finding> {
  try {
    await connection.command('REPLCONF', 'capa', 'eof');
    return { level: 'ok', subject: 'rights', message: 'the database may be read as a replica reads it', remedy: '' };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return {
      level: 'error',
      subject: 'rights',
      message: error.message,
      remedy: 'ACL SETUSER holdfast on >PASSWORD +ping +info +replconf +sync +psync +config|get',
    };
  }
}

async function settingFindingsOf(connection: RedisConnection): Promise<Finding[]> {
  let diskless: string;
  try {
    const answer = await connection.command('CONFIG', 'GET', 'repl-diskless-sync');
    diskless = Array.isArray(answer) ? String(answer[1]) : '';
  } catch {
    // Hosted servers forbid CONFIG: then nothing is known, and nothing is wrong.
    return [];
  }
  if (diskless !== 'no') return [];
  return [
    {
      level: 'warning',
      subject: 'repl-diskless-sync',
      message: 'a backup makes the server write its whole database to its own disk first',
      remedy: 'CONFIG SET repl-diskless-sync yes',
    },
  ];
}

function roleFindings(info: ReadonlyMap<string, string>): Finding[] {
  if (info.get('role') !== 'slave' || info.get('master_link_status') === 'up') return [];
  return [
    {
      level: 'warning',
      subject: 'role',
      message: 'it is a replica that has lost its primary: what it holds may be old',
      remedy: 'Look at INFO replication on it, or back up the primary.',
    },
  ];
}

function infoFields(text: string): Map<string, string> {
  return new Map(
    text.split('\r\n').flatMap((line): [string, string][] => {
      const at = line.indexOf(':');
      return at > 0 && !line.startsWith('#') ? [[line.slice(0, at), line.slice(at + 1)]] : [];
    }),
  );
}

/** Sockets where packages put them, and who listens on the usual port. */
export function runningServers(): DiscoveredSource[] {
  const sockets = ['/run/redis/redis-server.sock', '/run/redis/redis.sock'].filter((path) => existsSync(path));
  const listens = (hostFiles().text('proc/net/tcp') ?? '')
    .split('\n')
    .some((line) => /:18EB [0-9A-F:]+ 0A /.test(line));
  const dsns =
    sockets.length > 0 ? sockets.map((path) => `socket=${path}`) : listens ? ['host=127.0.0.1 port=6379'] : [];
  return dsns.map((dsn) => ({
    type: 'redis',
    name: 'redis',
    settings: { dsn },
    description: `Redis at ${addressText(parseDsn(dsn))}`,
    command: `holdfast source add redis --host HOST --type redis --dsn '${dsn}'`,
  }));
}
