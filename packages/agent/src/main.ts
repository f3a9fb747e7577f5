#!/usr/bin/env node
// holdfast-agent: reads arguments, calls what does the work, words the result.

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { HoldfastError, meaningOf, toHoldfastError } from '@holdfast/shared/base/errors';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { configFile, DEFAULT_STATE_DIR, loadAgentConfig, writeFirstConfig, type ConfigPlaces } from './agent-config.ts';
import { AGENT_VERSION } from './version.ts';

const USAGE = `Usage:
  holdfast-agent enrol [TOKEN] [--token-file FILE] [--state DIR] [--config FILE] [--domain-secret-file FILE] [--replace]
  holdfast-agent run [--state DIR] [--config FILE]
  holdfast-agent serve --force APPLICATION [--state DIR] [--config FILE]
  holdfast-agent secret new FILE | set FILE | show   [--state DIR] [--config FILE]
  holdfast-agent --version

enrol  makes this host known to a controller. The token comes from \`holdfast host add NAME\`: it works once and for a short
       time, so it may stand in the command line. Where even that is too much, give --token-file, or - to read it from
       standard input. A sealed domain's secret (64 hex digits) is read from --domain-secret-file.
run    connects to the controller and does what it asks for, until SIGTERM.
serve --force  makes this host serve an application, whatever the controller and the other host say. Only when it is certain
       that no other host serves it: two that do destroy data. It is noted, and the controller will page about it.
secret is for hosts of a sealed domain, of which the controller has no key: new makes one for a new domain, set gives it to
       this host (\`-\`: from standard input; the agent must be stopped), show prints this host's. Keep a copy: without
       it nobody can open the backups.
`;

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = readArguments(argv);
  if (values.version === true) return say(AGENT_VERSION);
  const [verb, ...rest] = positionals;
  if (values.help === true) return say(USAGE.trimEnd());
  if (verb === 'enrol' && rest.length <= 1) return await enrolHost(rest[0], values);
  if (verb === 'run' && rest.length === 0) return await runAgent(values);
  if (verb === 'serve' && rest.length === 1 && values.force === true) return await forceHost(rest[0] ?? '', values);
  if (verb === 'secret' && rest.length <= 2) return await secretOfDomain(rest[0], rest[1], values);
  throw new HoldfastError('USAGE', USAGE.trimEnd());
}

async function secretOfDomain(what: string | undefined, file: string | undefined, flags: Flags): Promise<number> {
  const { makeSecretFile, readSecretHex, setSecret, showSecret } = await import('./link/domain-secret.ts');
  const stateDir = resolve(flags.state ?? stateDirBefore({ config: flags.config, state: flags.state }));
  if (what === 'show' && file === undefined) return say(showSecret(stateDir));
  if (what === 'new' && file !== undefined) {
    makeSecretFile(resolve(file));
    return say(
      `Wrote ${resolve(file)}. Keep a copy where no host can burn it: without it nobody can open the backups.`,
    );
  }
  if (what === 'set' && file !== undefined) {
    const { hostName, domainName } = setSecret(stateDir, readSecretHex(file));
    return say(`${hostName} has the secret of ${domainName} now. Start the agent again.`);
  }
  throw new HoldfastError('USAGE', USAGE.trimEnd());
}

async function forceHost(application: string, flags: Flags): Promise<number> {
  const { forceServing } = await import('./recovery/failover/force-serving.ts');
  forceServing(loadAgentConfig({ config: flags.config, state: flags.state }).stateDir, application, Date.now());
  return say(`The agent of this host makes it serve ${application} now, or when it is started. It is in its log.`);
}

function readArguments(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        state: { type: 'string' },
        'token-file': { type: 'string' },
        'domain-secret-file': { type: 'string' },
        replace: { type: 'boolean' },
        force: { type: 'boolean' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new HoldfastError('USAGE', toHoldfastError(error).message, { hint: 'See holdfast-agent --help.' });
  }
}

type Flags = ReturnType<typeof readArguments>['values'];

async function enrolHost(word: string | undefined, flags: Flags): Promise<number> {
  const places: ConfigPlaces = { config: flags.config, state: flags.state };
  const stateDir = resolve(flags.state ?? stateDirBefore(places));
  const [{ decodeEnrolmentToken }, { enrol }, { readSecretHex }] = await Promise.all([
    import('@holdfast/shared/rpc/enrolment-token'),
    import('./link/enrol.ts'),
    import('./link/domain-secret.ts'),
  ]);
  const token = decodeEnrolmentToken(readToken(word, flags['token-file']));
  const secretFile = flags['domain-secret-file'];
  const domainSecret = secretFile === undefined ? undefined : readSecretHex(secretFile);
  const { identity, already } = await enrol(token, {
    stateDir,
    clock: systemClock,
    random: Math.random,
    replace: flags.replace === true,
    facts: {
      hostname: hostname(),
      machineId: readLine('/etc/machine-id'),
      agentVersion: AGENT_VERSION,
      os: /^PRETTY_NAME="?([^"\n]*)/m.exec(readLine('/etc/os-release'))?.[1] ?? 'Linux',
    },
    ...(domainSecret === undefined ? {} : { domainSecret }),
  });
  const who = `${identity.hostName} (domain ${identity.domainName}) at ${identity.controllerAddress}`;
  if (already) return say(`Enrolled already as ${who}. Nothing was changed.`);
  say(`Enrolled as ${who}.`);
  if (identity.domainSecret === undefined) {
    say(
      'This domain is sealed: the host needs its secret, which its other hosts have. Give it: holdfast-agent secret set FILE',
    );
  }
  try {
    if (writeFirstConfig(places, stateDir, identity.controllerAddress)) say(`Wrote ${configFile(places)}.`);
  } catch (error) {
    say(`Could not write ${configFile(places)} (${toHoldfastError(error).message}); the defaults hold.`);
  }
  return 0;
}

/** Enrolment may come before the file: then it is the default. */
function stateDirBefore(places: ConfigPlaces): string {
  try {
    return loadAgentConfig(places).stateDir;
  } catch (error) {
    if (places.config === undefined) throw error;
    return DEFAULT_STATE_DIR;
  }
}

function readToken(word: string | undefined, file: string | undefined): string {
  if (word !== undefined && word !== '-' && file === undefined) return word;
  if (file !== undefined && word === undefined) return readSecretFile(file === '-' ? '/dev/stdin' : file, 'the token');
  if (word === '-' && file === undefined) return readSecretFile('/dev/stdin', 'the token');
  throw new HoldfastError('USAGE', 'give the token once: as a word, with --token-file, or - for standard input');
}

function readSecretFile(file: string, what: string): string {
  try {
    return readFileSync(file === '/dev/stdin' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new HoldfastError('USAGE', `${what} cannot be read from ${file}`, { cause });
  }
}

function readLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

async function runAgent(flags: Flags): Promise<number> {
  const config = loadAgentConfig({ config: flags.config, state: flags.state });
  const [{ openLog }, { startAgent }, { engineRegistry }] = await Promise.all([
    import('@holdfast/shared/runtime/log'),
    import('./agent.ts'),
    import('./sources/registry.ts'),
  ]);
  const log = openLog({
    program: 'holdfast-agent',
    level: config.logLevel,
    ...(config.logFile === undefined ? {} : { file: config.logFile }),
  });
  process.on('unhandledRejection', (error) => log.error('agent.unhandled-rejection', { error }));
  const agent = startAgent({
    stateDir: config.stateDir,
    controllerAddress: config.controllerAddress,
    engines: engineRegistry(config.watchBudget),
    services: config.services,
    peers: config.peers,
    clock: systemClock,
    random: Math.random,
    log,
  });
  await new Promise<void>((stop) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop());
  });
  await agent.stop();
  await log.flush();
  return 0;
}

function say(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (thrown: unknown) => {
    const error = toHoldfastError(thrown);
    process.stderr.write(`holdfast-agent: ${error.message}\n${error.hint === '' ? '' : `  ${error.hint}\n`}`);
    process.exit(meaningOf(error.code).exit);
  },
);
