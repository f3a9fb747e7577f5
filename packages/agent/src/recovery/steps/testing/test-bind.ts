// A real name server for a test: BIND on a port of the loopback, with a zone that whoever has its key may change.

import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const NAMED = '/usr/sbin/named';

/** Why there is none here; undefined: there is. Throws with HOLDFAST_CI=1, where there must be. */
export function noBind(): string | undefined {
  if (existsSync(NAMED)) return undefined;
  const why = 'needs BIND (apt-get install bind9)';
  if (process.env['HOLDFAST_CI'] === '1') throw new Error(why);
  return why;
}

export interface TestBind {
  /** HOST:PORT */
  readonly server: string;
  /** As a plan's secret: NAME ALGORITHM BASE64. */
  readonly keys: Readonly<Record<'hmac-sha256' | 'hmac-sha512', string>>;
  stop(): Promise<void>;
}

export const ZONE = 'shop.example';

/** @param dir for its files; 192.0.2.1 is what the zone's names stand for */
export async function startBind(dir: string): Promise<TestBind> {
  const port = await freePort();
  const keys = { 'hmac-sha256': randomBytes(32).toString('base64'), 'hmac-sha512': randomBytes(64).toString('base64') };
  const declared = Object.entries(keys)
    .map(([algorithm, secret]) => `key "key-${algorithm}" { algorithm ${algorithm}; secret "${secret}"; };`)
    .join('\n');
  const config = `${declared}
options {
  directory "${dir}"; pid-file none; session-keyfile none; managed-keys-directory "${dir}";
  listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; dnssec-validation no; empty-zones-enable no; notify no;
};
controls { };
zone "${ZONE}" { type primary; file "zone"; update-policy { grant * subdomain www.${ZONE}; }; };
`;
  const zone = `$TTL 30
@ SOA ns root 1 3600 600 86400 30
@ NS ns
ns A 127.0.0.1
www 60 A 192.0.2.1
www 60 AAAA 2001:db8::1
alias CNAME www
fixed A 192.0.2.9
`;
  writeFileSync(join(dir, 'named.conf'), config);
  writeFileSync(join(dir, 'zone'), zone);
  const named = spawn(NAMED, ['-g', '-n', '1', '-c', join(dir, 'named.conf')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  named.stderr.on('data', (bytes: Buffer) => void (said = `${said}${bytes.toString()}`.slice(-4000)));
  while (!said.includes('running\n') || !(await listens(port))) {
    if (named.exitCode !== null) throw new Error(`named ended: ${said}`);
    await delay(20);
  }
  const key = (algorithm: 'hmac-sha256' | 'hmac-sha512'): string => `key-${algorithm} ${algorithm} ${keys[algorithm]}`;
  return {
    server: `127.0.0.1:${port}`,
    keys: { 'hmac-sha256': key('hmac-sha256'), 'hmac-sha512': key('hmac-sha512') },
    stop: () => ended(named),
  };
}

async function ended(named: ChildProcess): Promise<void> {
  if (named.exitCode !== null || named.signalCode !== null) return;
  const over = new Promise((resolve) => named.once('exit', resolve));
  named.kill('SIGKILL');
  await over;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (well: boolean): void => {
      socket.destroy();
      resolve(well);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
