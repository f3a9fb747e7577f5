// `holdfast login`: where the controller is, and as whom.
//
// Hazard: the first contact. Whoever answers at an address could be anybody, so the controller's authority is given as a
// file, or fetched and held against its fingerprint; only then is a secret sent.

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DomainRole, OperatorClient } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { ConnectionTarget } from './session/connection.ts';
import { readContextFile, writeContextFile, type Context } from './session/context-file.ts';
import { readSecret } from './session/secret.ts';
import type { Session } from './session/session.ts';
import { formatTime, isoTime } from './words/times.ts';

interface LoginOptions {
  readonly ca?: string;
  readonly fingerprint?: string;
  readonly as?: string;
  readonly passwordFile?: string;
  readonly token?: boolean;
  readonly tokenFile?: string;
  readonly name: string;
}

export function define(program: Command, session: Session): void {
  program
    .command('login')
    .description('log in to a controller')
    .argument('[address]', 'HOST:PORT of the controller; the current one when left out')
    .option('--ca <file>', 'certificate of the controller’s authority (ca.pem in its data directory)')
    .option('--fingerprint <sha256>', 'fetch that certificate and hold it against this fingerprint')
    .option('--as <operator>', 'who you are there; your user name when left out')
    .option('--password-file <file>', 'read the password from this file instead of asking')
    .option('--token', 'log in with an API token: asked for, or read from standard input')
    .option('--token-file <file>', 'log in with the API token in this file')
    .option('--name <context>', 'the context to write and to use from now on', 'default')
    .addHelpText('after', HELP)
    .action(async (address: string | undefined, options: LoginOptions) => await login(session, address, options));
}

async function login(session: Session, argument: string | undefined, options: LoginOptions): Promise<void> {
  const { environment } = session;
  const file = readContextFile(environment.contextFile);
  const known = file.contexts[options.name];
  const address = addressOf(argument ?? environment.address ?? known?.address);
  const ca = await authority(session, address, options, known?.address === address ? known.ca : undefined);
  const target: ConnectionTarget = { address, ca, token: '', domain: '' };
  const byToken = options.token === true || options.tokenFile !== undefined;
  const asked = byToken
    ? { token: await readSecret(environment, { prompt: 'API token: ', file: options.tokenFile }), expiresAtMs: 0 }
    : await passwordLogin(session, target, options, known?.operator);
  const { operator, roles } = await whoAmI({ ...target, token: asked.token });
  const domain = session.domainOption ?? (roles.length === 1 ? (roles[0]?.domain ?? '') : (known?.domain ?? ''));
  const context: Context = { ...target, ...asked, operator, domain };
  writeContextFile(environment.contextFile, {
    current: options.name,
    contexts: { ...file.contexts, [options.name]: context },
  });
  if (session.json) {
    return await session.document({
      context: options.name,
      address,
      operator,
      roles,
      expiresAt: isoTime(asked.expiresAtMs),
    });
  }
  const until = asked.expiresAtMs === 0 ? '' : ` until ${formatTime(asked.expiresAtMs)}`;
  await session.write(`Logged in to ${address} as ${operator}${until}.\n`);
}

function addressOf(text: string | undefined): string {
  if (text === undefined) {
    throw new HoldfastError('USAGE', 'which controller?', { hint: 'Run: holdfast login HOST:PORT --ca ca.pem' });
  }
  const port = Number(/:(\d{1,5})$/.exec(text)?.[1]);
  if (!(port > 0 && port < 65_536)) {
    throw new HoldfastError('USAGE', `"${text}" is not HOST:PORT`, {
      hint: 'As in: holdfast login backup.example.net:7400',
    });
  }
  return text;
}

async function authority(
  session: Session,
  address: string,
  options: LoginOptions,
  known: string | undefined,
): Promise<string> {
  const caFile = options.ca === undefined ? session.environment.caFile : session.environment.resolvePath(options.ca);
  if (caFile !== undefined) return readCa(caFile);
  if (options.fingerprint !== undefined) {
    const { fetchCaCertificate } = await import('@holdfast/shared/rpc/channel');
    return await fetchCaCertificate(address, options.fingerprint.replaceAll(':', ''));
  }
  if (known !== undefined) return known;
  throw new HoldfastError('USAGE', `nothing says which authority the controller at ${address} must have`, {
    hint: 'Copy ca.pem from the controller’s data directory and give it with --ca, or its fingerprint with --fingerprint.',
  });
}

function readCa(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new HoldfastError(
      'NOT_FOUND',
      `can't read the certificate ${path}: ${error instanceof Error ? error.message : ''}`,
    );
  }
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  throw new HoldfastError('USAGE', `${path} is not a certificate in PEM form`);
}

async function passwordLogin(
  session: Session,
  target: ConnectionTarget,
  options: LoginOptions,
  known: string | undefined,
): Promise<{ token: string; expiresAtMs: number }> {
  const operator = options.as ?? known ?? session.environment.user;
  const prompt = `Password of ${operator} at ${target.address}: `;
  const password = await readSecret(session.environment, { prompt, file: options.passwordFile });
  return await withConnection(target, async (client) => {
    const answer = await client.login({ operator, password });
    return { token: answer.token, expiresAtMs: Number(answer.expiresAtMs) };
  });
}

async function whoAmI(target: ConnectionTarget): Promise<{ operator: string; roles: DomainRole[] }> {
  return await withConnection(target, async (client) => await client.whoAmI({}));
}

async function withConnection<T>(target: ConnectionTarget, use: (client: OperatorClient) => Promise<T>): Promise<T> {
  const { connectTo } = await import('./session/connection.ts');
  const connection = connectTo(target);
  try {
    return await use(connection.operator);
  } finally {
    connection.close();
  }
}

const HELP = `
Examples:
  holdfast login backup.example.net:7400 --ca ca.pem --as erika
  holdfast login --token-file /etc/monitoring/holdfast-token 127.0.0.1:7400 --ca /var/lib/holdfast/ca.pem
  holdfast login                        # again, when the login has ended
`;
