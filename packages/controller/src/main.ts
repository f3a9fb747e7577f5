#!/usr/bin/env node
// holdfast-controller: reads the command line, the environment and the settings' file, and nothing else does.

import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import { meaningOf, toHoldfastError, HoldfastError } from '@holdfast/shared/base/errors';
import { parseConfig, readConfig } from '@holdfast/shared/runtime/config';
import { openLog, type Log } from '@holdfast/shared/runtime/log';
import { Command, CommanderError } from 'commander';

import { startController, VERSION, type ControllerOptions } from './controller.ts';
import { parseMasterKey } from './fleet/master-key.ts';
import { parseRecoverySheet, type RecoverySheet } from './fleet/recovery-sheet.ts';
import { printRecoverySheet, rebuild } from './maintenance.ts';
import { settingsSchema, type Settings } from './settings.ts';

interface Flags {
  readonly config?: string;
  readonly data?: string;
  readonly listen?: string;
  readonly metrics?: string;
  readonly advertise?: string;
  readonly vault?: string;
  readonly logLevel?: string;
}

const DEFAULT_CONFIG_FILE = '/etc/holdfast/controller.yaml';

/** A file that was named must be there; the machine's own need not, and is not for a controller with a directory of its own. */
function configFile(flags: Flags): string | undefined {
  if (flags.config !== undefined) return resolve(flags.config);
  return flags.data === undefined && existsSync(DEFAULT_CONFIG_FILE) ? DEFAULT_CONFIG_FILE : undefined;
}

/** What the flags say wins over what the file says. */
function readSettings(flags: Flags): Settings {
  const path = configFile(flags);
  const file = path === undefined ? {} : readConfig(path, settingsSchema.partial());
  const { data, listen, metrics, advertise, vault, logLevel } = flags;
  const given = {
    ...file,
    ...(data === undefined ? {} : { data: resolve(data) }),
    ...(listen === undefined ? {} : { listen }),
    ...(metrics === undefined ? {} : { metrics }),
    ...(advertise === undefined ? {} : { advertise }),
    ...(vault === undefined ? {} : { vault: resolve(vault) }),
    ...(logLevel === undefined ? {} : { log: { ...file.log, level: logLevel } }),
  };
  return parseConfig(JSON.stringify(given), 'the command line', settingsSchema);
}

function optionsFrom(flags: Flags): ControllerOptions {
  const settings = readSettings(flags);
  const { HOLDFAST_MASTER_KEY: masterKey, DATABASE_URL: databaseUrl } = process.env;
  const log = openLog({
    program: 'holdfast-controller',
    level: settings.log.level,
    ...(settings.log.file === undefined ? {} : { file: settings.log.file }),
  });
  return {
    settings,
    log,
    databaseUrl: databaseUrl === undefined || databaseUrl === '' ? undefined : databaseUrl,
    masterKey: masterKey === undefined ? undefined : parseMasterKey(masterKey, 'HOLDFAST_MASTER_KEY'),
  };
}

async function serve(flags: Flags): Promise<void> {
  const options = optionsFrom(flags);
  const stopAsked = new Promise<string>((resolveStop) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolveStop(signal));
  });
  const controller = await startController(options);
  process.stdout.write(
    `holdfast-controller ready on port ${controller.port}, metrics on port ${controller.metricsPort}\n`,
  );
  options.log.info('controller.ready', {
    port: controller.port,
    metricsPort: controller.metricsPort,
    version: VERSION,
  });
  const signal = await stopAsked;
  options.log.info('controller.stopping', { signal });
  await controller.stop();
  options.log.info('controller.stopped');
  await options.log.flush();
}

async function run(flags: Flags, work: (options: ControllerOptions) => Promise<string>): Promise<void> {
  process.stdout.write(await work(optionsFrom({ logLevel: 'warn', ...flags })));
}

/** Throws INVALID_ARGUMENT for what is no sheet. */
function readSheet(file: string): RecoverySheet {
  const where = file === '-' ? 'standard input' : file;
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new HoldfastError('USAGE', `the recovery sheet cannot be read from ${where}`, { cause });
  }
  return parseRecoverySheet(text, where);
}

function withFlags(command: Command): Command {
  return command
    .option('--config <file>', `settings, YAML (default ${DEFAULT_CONFIG_FILE} if it is there and --data is not given)`)
    .option('--data <dir>', 'catalog, packs, keys (default /var/lib/holdfast)')
    .option('--vault <dir>', 'where the packs are (default: below the data directory)')
    .option('--log-level <level>', 'error, warn, info or debug');
}

function commandLine(): Command {
  const program = new Command('holdfast-controller')
    .version(VERSION, '--version', 'print the version')
    .description('the controller of Holdfast')
    .configureOutput({ writeErr: (text) => process.stderr.write(text.replace(/^error: /, 'holdfast-controller: ')) })
    .showHelpAfterError('(add --help for what is possible)')
    .exitOverride();
  withFlags(program.command('serve'))
    .description('serve hosts and operators until SIGTERM or SIGINT')
    .option('--listen <host:port>', 'the one port; port 0 takes any free one (default 0.0.0.0:7400)')
    .option('--metrics <host:port>', '/metrics and /healthz over HTTP (default 127.0.0.1:0)')
    .option('--advertise <host:port>', 'the address that hosts are told (default: the one listened on)')
    .action(serve);
  withFlags(program.command('recovery-sheet'))
    .description('print what is needed to open a domain’s backups without this controller; keep it on paper')
    .option('--domain <name>', 'which domain', 'default')
    .action((flags: Flags & { domain: string }) => run(flags, (options) => printRecoverySheet(options, flags.domain)));
  withFlags(program.command('rebuild'))
    .description('bring a lost catalog back from the packs, the master key and the recovery sheets')
    .option('--recovery-sheet <file...>', 'of each managed domain, as it was printed; - reads standard input')
    .action((flags: Flags & { recoverySheet?: string[] }) =>
      run(flags, (options) => rebuild(options, (flags.recoverySheet ?? []).map(readSheet))),
    );
  return program;
}

function fail(thrown: unknown, log?: Log): void {
  // Commander has said it already, and its own exit code for a usage error is 1.
  if (thrown instanceof CommanderError) {
    process.exitCode = thrown.exitCode === 0 ? 0 : meaningOf('USAGE').exit;
    return;
  }
  const error = toHoldfastError(thrown);
  log?.error('controller.failed', { error });
  process.stderr.write(`holdfast-controller: ${error.message}\n${error.hint === '' ? '' : `  ${error.hint}\n`}`);
  if (!(thrown instanceof HoldfastError) && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`);
  process.exitCode = meaningOf(error.code).exit;
}

await commandLine().parseAsync().catch(fail);
