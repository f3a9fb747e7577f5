// `holdfast source`: what is protected on a host.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { checkBefore, defineChecks } from './source-checks.ts';
import { SOURCE_TYPES } from './engine-options.ts';
import { repeated } from './session/repeated-option.ts';
import { sourceName } from './session/selection.ts';
import type { Session } from './session/session.ts';
import {
  addRequest,
  clearingOptions,
  setRequest,
  settingOptions,
  type AddOptions,
  type SetOptions,
} from './source-options.ts';
import { findingFields, findingWords } from './words/findings.ts';
import { formatCount } from './words/sizes.ts';
import { sourceFields, sourceTable, sourceTitle, sourceWords } from './words/sources.ts';

export function define(program: Command, session: Session): void {
  const source = program
    .command('source')
    .description('add, change, list, show and remove what is protected on a host')
    .addHelpText('after', HELP);
  const add = source
    .command('add')
    .description('protect something on a host')
    .argument('<name>', 'what the source is called, unique on its host')
    .requiredOption('--host <host>', 'the host that it is on')
    .option('--type <type>', SOURCE_TYPES.join(', '), 'files')
    .option('--dsn <words>', 'a database: how to reach it, as "host=/run/postgresql user=holdfast"; never a password')
    .option('--run <word>', 'a command: the program, absolute, and its arguments; one word each', repeated)
    .option('--set <name=value>', 'a setting of the type; may be repeated', repeated)
    .option('--no-check', 'add it without asking the host whether it could be backed up');
  settingOptions(add)
    .option('--compression <codec>', 'zstd, lz4 or none', 'zstd')
    .action(async (name: string, options: AddOptions & { readonly check: boolean }) => {
      const request = { domain: await session.domain(), ...addRequest(name, options) };
      // A file tree may come into being later; a database that can't be reached is a mistake now.
      const findings = options.check && options.type !== 'files' ? await checkBefore(session, request) : [];
      const added = (await (await session.operator()).addSource(request)).source;
      if (added === undefined)
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller answered without a source');
      if (session.json) {
        return await session.document({ source: sourceFields(added), findings: findings.map(findingFields) });
      }
      await session.write(
        `${findingWords(findings, session.width)}Added ${sourceTitle(added)}. Back it up now with: holdfast backup ${sourceTitle(added)}\n`,
      );
    });
  const set = source
    .command('set')
    .description('change settings of a source, which keeps its snapshots')
    .argument('<source>', 'HOST/SOURCE');
  clearingOptions(settingOptions(set))
    .option('--compression <codec>', 'zstd, lz4 or none')
    .option('--dsn <words>', 'a database: how to reach it, as "host=/run/postgresql user=holdfast"; never a password')
    .option('--run <word>', 'a command: the program, absolute, and its arguments; one word each', repeated)
    .option('--set <name=value>', 'a setting of the type, with no value to take it away; may be repeated', repeated)
    .addHelpText('after', SET_HELP)
    .action(async (argument: string, options: SetOptions) => {
      const name = sourceName(argument);
      const { spec, fields } = setRequest(options);
      const operator = await session.operator();
      const { source: changed } = await operator.setSource({
        domain: await session.domain(),
        source: name,
        spec,
        fields,
      });
      if (changed === undefined)
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller answered without a source');
      if (session.json) return await session.document({ source: sourceFields(changed) });
      await session.write(`Changed ${fields.map((field) => field.replaceAll('_', ' ')).join(', ')} of ${name}.\n`);
    });
  source
    .command('ls')
    .description('every source, with its newest snapshot')
    .option('--host <host>', 'only those of this host', '')
    .action(async (options: { host: string }) => {
      const domain = await session.domain();
      const { sources } = await (await session.operator()).listSources({ domain, host: options.host });
      if (session.json) return await session.document({ sources: sources.map(sourceFields) });
      await session.write(sourceTable(sources, session.environment.now(), session.width));
    });
  source
    .command('show')
    .description('one source: settings, state, newest snapshot')
    .argument('<source>', 'HOST/SOURCE')
    .action(async (argument: string) => await show(session, sourceName(argument)));
  source
    .command('rm')
    .description('protect it no longer; its snapshots stay')
    .argument('<source>', 'HOST/SOURCE')
    .action(async (argument: string) => {
      const name = sourceName(argument);
      const { snapshotsKept } = await (
        await session.operator()
      ).removeSource({ domain: await session.domain(), source: name });
      if (session.json) return await session.document({ source: name, snapshotsKept: Number(snapshotsKept) });
      await session.write(`${name} is no longer protected; ${formatCount(Number(snapshotsKept))} snapshots stay.\n`);
    });
  defineChecks(source, session);
}

async function show(session: Session, name: string): Promise<void> {
  const { source } = await (await session.operator()).getSource({ domain: await session.domain(), source: name });
  if (source === undefined) throw new HoldfastError('NOT_FOUND', `there is no source ${name}`);
  if (!session.json) return await session.write(sourceWords(source, session.environment.now(), session.width));
  const fields = sourceFields(source);
  const { state, recoverable, log, slot, rpoSeconds } = fields;
  // What is asked for most stands at the top as well.
  await session.document({ source: fields, state, recoverable, log, slot, rpoSeconds });
}

const SET_HELP = `
What is not named stays as it is. A list is replaced as a whole: name every pattern that is to hold from now on, or none with
--no-exclude. The next backup goes by the new settings, and goes on with the source's history.

Examples:
  holdfast source set web-1/site --exclude '*.log' --exclude /cache/ --limit 10MiB/s
  holdfast source set web-1/site --path /srv/site --path /etc/nginx
  holdfast source set web-1/site --no-exclude --limit none --no-continuous
  holdfast source set web-1/db --set walKeep=8GiB --set baseEvery=12h
`;

const HELP = `
Examples:
  holdfast source add site --host web-1 --type files --path /srv/site
  holdfast source add home --host web-1 --path /home --exclude '*/.cache/' --exclude-caches --continuous
  holdfast source add db --host web-1 --type postgres --dsn 'host=/run/postgresql user=holdfast dbname=postgres'
  holdfast source discover web-1
  holdfast source ls --host web-1
`;
