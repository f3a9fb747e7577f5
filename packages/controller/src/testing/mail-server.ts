// A real mail server for tests: Debian's exim4 with a configuration of its own, on a port of the loopback address.
//
// It knows the user `holdfast`, lets mail out of nobody's hands without TLS when it is told so, defers mail to `later@`, refuses mail to
// `nobody@`, and writes all other mail into files.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface MailServer {
  readonly port: number;
  /** Of its certificate's authority: itself. The certificate is for 127.0.0.1. */
  readonly caFile: string;
  readonly passwordFile: string;
  /** What was delivered to `local@…`, header and body; oldest first. */
  mailOf(local: string): string[];
  /** The dialogue as the server's own log has it. */
  log(): string;
  stop(): Promise<void>;
}

const EXIM = '/usr/sbin/exim4';
const USER = 'holdfast';
export const MAIL_PASSWORD = 'correct horse battery';

/** Undefined when this machine can't run it; then `HOLDFAST_CI` makes it an error. */
export function whyNoMailServer(): string | undefined {
  if (!existsSync(EXIM)) return 'exim4 is not installed (Debian package exim4-daemon-light)';
  if (process.getuid?.() !== 0) return 'exim4 takes no connections for a user who is not root';
  return undefined;
}

/** `tls`: it offers STARTTLS, and takes a login only under it. */
export async function startMailServer(options: { readonly tls: boolean; readonly port?: number }): Promise<MailServer> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-mail-'));
  for (const each of ['spool', 'mail', 'log']) mkdirSync(join(directory, each));
  const keyFile = join(directory, 'key.pem');
  const caFile = join(directory, 'cert.pem');
  const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=mail.test';
  const written = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', caFile];
  run('openssl', request.split(' ').concat(written));
  const port = options.port ?? (await freePort());
  const config = join(directory, 'exim.conf');
  writeFileSync(config, configuration({ directory, port, keyFile, caFile, tls: options.tls }));
  writeFileSync(join(directory, 'password'), `${MAIL_PASSWORD}\n`, { mode: 0o600 });
  run('chown', ['-R', 'Debian-exim:Debian-exim', directory]);
  const daemon = spawn(
    'setpriv',
    ['--reuid=Debian-exim', '--regid=Debian-exim', '--clear-groups', EXIM, '-bdf', '-q1s', '-C', config],
    {
      stdio: 'ignore',
    },
  );
  const stop = async (): Promise<void> => {
    await ended(daemon);
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  };
  try {
    await answers(port, daemon);
  } catch (error) {
    const log = readOr(join(directory, 'log', 'panic')) + readOr(join(directory, 'log', 'main'));
    await stop();
    throw new Error(`exim4 does not start: ${log}`, { cause: error });
  }
  return {
    port,
    caFile,
    passwordFile: join(directory, 'password'),
    mailOf: (local) => mailsIn(join(directory, 'mail'), local),
    log: () => readOr(join(directory, 'log', 'main')),
    stop,
  };
}

interface Configured {
  readonly directory: string;
  readonly port: number;
  readonly keyFile: string;
  readonly caFile: string;
  readonly tls: boolean;
}

function configuration({ directory, port, keyFile, caFile, tls }: Configured): string {
  return `
primary_hostname = mail.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = ${port}
spool_directory = ${directory}/spool
log_file_path = ${directory}/log/%s
pid_file_path = ${directory}/exim.pid
exim_user = Debian-exim
exim_group = Debian-exim
deliver_drop_privilege = true
keep_environment =
acl_smtp_rcpt = check_rcpt
acl_smtp_data = accept
log_selector = +smtp_confirmation +tls_cipher
${tls ? `tls_advertise_hosts = *\ntls_certificate = ${caFile}\ntls_privatekey = ${keyFile}` : 'tls_advertise_hosts ='}
auth_advertise_hosts = \${if eq{$tls_in_cipher}{}{}{*}}

begin acl
check_rcpt:
  deny local_parts = nobody
       message = there is nobody of this name
  defer local_parts = later
        message = the mailbox is busy
  ${tls ? 'deny !authenticated = *\n       message = log in first' : ''}
  accept

begin routers
everything:
  driver = accept
  transport = into_files

begin transports
into_files:
  driver = appendfile
  file = ${directory}/mail/\${lc:\${extract{1}{@}{$local_part}{$value}{$local_part}}}.$message_exim_id
  create_file = belowhome
  no_mode_fail_narrower
  user = Debian-exim
  home_directory = ${directory}

begin retry
* * F,1h,1s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = \${if and{{eq{$auth2}{${USER}}}{eq{$auth3}{${MAIL_PASSWORD}}}}{yes}{no}}
  server_set_id = $auth2
`;
}

function run(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program}: ${stderr}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number, daemon: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (daemon.exitCode !== null) throw new Error(`it ended with ${daemon.exitCode}`);
    const greeted = await new Promise<boolean>((resolve) => {
      const socket = createConnection({ port, host: '127.0.0.1' });
      socket.once('data', () => (socket.destroy(), resolve(true)));
      socket.once('error', () => resolve(false));
    });
    if (greeted) return;
    await delay(25);
  }
  throw new Error('it does not answer');
}

async function ended(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const gone = new Promise((resolve) => daemon.once('exit', resolve));
  daemon.kill('SIGTERM');
  await gone;
}

function mailsIn(directory: string, local: string): string[] {
  // While it writes, its lock files stand beside: more dots than a message's id has.
  const names = readdirSync(directory).filter((name) => name.startsWith(`${local}.`) && name.split('.').length === 2);
  return names.toSorted().map((name) => readFileSync(join(directory, name), 'utf8'));
}

function readOr(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
