// Which MariaDB and MySQL servers run on this host: by their sockets, as the kernel knows them. Nobody is asked for a password; a
// server that doesn't let the agent's own account in is proposed with what to do about it.

import { readFileSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DiscoveredSource } from '../../../jobs/job.ts';
import { hostFiles, socketsOf, type HostFiles } from '../../blueprint/host-files.ts';
import type { LookDeps } from '../../engine.ts';
import { accountName } from '../dsn.ts';
import { ServerSession } from '../protocol/server-session.ts';
import { contentBytes } from '../server-facts.ts';

const SERVERS_MOST = 32;
const GIB = 1024 ** 3;

export async function discoverServers({ signal }: LookDeps): Promise<readonly DiscoveredSource[]> {
  const found: DiscoveredSource[] = [];
  for (const socket of socketsIn(readFileSync('/proc/net/unix', 'utf8'), socketsOfServers(hostFiles())).slice(
    0,
    SERVERS_MOST,
  )) {
    const server = await describe(socket, signal);
    if (server !== undefined) found.push(proposal(socket, server, found.length));
  }
  return found;
}

/**
 * Sockets that listen and belong to a server's process, or are called like a server's; each once. Not those of restored servers.
 * @param table /proc/net/unix, proc(5)
 * @param owned inodes of sockets that server processes hold
 */
export function socketsIn(table: string, owned: ReadonlySet<string>): string[] {
  const sockets = new Set<string>();
  for (const line of table.split('\n').slice(1)) {
    const [, , , flags = '', , , inode = '', path = ''] = line.trim().split(/\s+/);
    const listens = (Number.parseInt(flags, 16) & 0x1_0000) !== 0;
    const known = owned.has(inode) || /(mysql|maria)[^/]*\.sock$/i.test(path);
    if (listens && known && path.startsWith('/') && !path.endsWith('/holdfast.sock')) sockets.add(path);
  }
  return [...sockets].toSorted();
}

/** Of processes called like a server. A server closes connections all the time: one that goes meanwhile hides no other socket. */
export function socketsOfServers(files: HostFiles): Set<string> {
  const servers = files
    .names('proc')
    .filter((name) => /^\d+$/.test(name) && /^(mariadbd|mysqld)$/.test(files.text(`proc/${name}/comm`)?.trim() ?? ''));
  return new Set(servers.flatMap((pid) => socketsOf(files, pid)));
}

interface SeenServer {
  readonly what: string;
  readonly refused: boolean;
}

/** undefined: it is no such server, or does not answer. */
async function describe(socket: string, signal: AbortSignal): Promise<SeenServer | undefined> {
  try {
    const server = await ServerSession.open({ socket, host: '', port: 0, user: accountName(), password: '' }, signal);
    try {
      const gib = (await contentBytes(server)) / GIB;
      const [counted] = await server.query('SELECT COUNT(*) AS n FROM information_schema.SCHEMATA');
      return { what: `${server.version}, ${counted?.['n'] ?? '?'} databases, ${gib.toFixed(1)} GiB`, refused: false };
    } finally {
      server.close();
    }
  } catch (error) {
    const refused = error instanceof HoldfastError && error.code === 'UNAUTHENTICATED';
    return refused ? { what: `does not let ${accountName()} in without a password`, refused } : undefined;
  }
}

function proposal(socket: string, { what, refused }: SeenServer, index: number): DiscoveredSource {
  const name = index === 0 ? 'mariadb' : `mariadb-${index + 1}`;
  const dsn = refused
    ? `socket=${socket} user=holdfast defaults-file=/etc/holdfast/${name}.cnf`
    : `socket=${socket} user=${accountName()}`;
  return {
    type: 'mariadb',
    name,
    settings: { dsn },
    description: `${socket}: ${what}`,
    command: `holdfast source add ${name} --host HOST --type mariadb --dsn '${dsn}'`,
  };
}
