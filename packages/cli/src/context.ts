// `holdfast context`: which controller the command line speaks to, and as whom.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { readContextFile, unknownContext, writeContextFile, type Context } from './session/context-file.ts';
import type { Session } from './session/session.ts';
import { formatFields, formatTable } from './words/tables.ts';
import { formatTime, isoTime } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const context = program
    .command('context')
    .description('show and choose the controller to speak to')
    .addHelpText('after', '\nExamples:\n  holdfast context\n  holdfast context use staging\n')
    .action(async () => await show(session));
  context
    .command('show')
    .description('the current context (the default)')
    .action(async () => await show(session));
  context
    .command('ls')
    .description('every context')
    .action(async () => await list(session));
  context
    .command('use')
    .description('make a context the current one')
    .argument('<name>')
    .action(async (name: string) => {
      const file = readContextFile(session.environment.contextFile);
      writeContextFile(session.environment.contextFile, { ...file, current: known(file.contexts, name) });
      await (session.json ? session.document({ current: name }) : session.write(`Now using ${name}.\n`));
    });
  context
    .command('rm')
    .description('forget a context and its token')
    .argument('<name>')
    .action(async (name: string) => {
      const file = readContextFile(session.environment.contextFile);
      const { [known(file.contexts, name)]: _removed, ...contexts } = file.contexts;
      const current = file.current === name ? '' : file.current;
      writeContextFile(session.environment.contextFile, { current, contexts });
      await (session.json ? session.document({ removed: name }) : session.write(`Forgot ${name}.\n`));
    });
}

function known(contexts: Readonly<Record<string, Context>>, name: string): string {
  if (Object.hasOwn(contexts, name)) return name;
  throw unknownContext(name, contexts);
}

async function show(session: Session): Promise<void> {
  const { environment } = session;
  const file = readContextFile(environment.contextFile);
  const name = session.contextName ?? file.current;
  const context = file.contexts[name];
  const address = environment.address ?? context?.address;
  if (address === undefined) {
    throw new HoldfastError('NOT_FOUND', 'you are not logged in to a controller', {
      hint: 'Run: holdfast login HOST:PORT --ca ca.pem',
    });
  }
  const expiresAtMs = context?.expiresAtMs ?? 0;
  const fields = { name, address, operator: context?.operator ?? '', domain: context?.domain ?? '' };
  if (session.json) {
    return await session.document({ ...fields, expiresAt: isoTime(expiresAtMs), file: environment.contextFile });
  }
  await session.write(
    formatFields(
      [
        ['Context', fields.name],
        ['Controller', fields.address],
        ['Operator', fields.operator],
        ['Domain', fields.domain],
        ['Login ends', expiresAtMs === 0 ? '' : formatTime(expiresAtMs)],
        ['File', environment.contextFile],
      ],
      session.width,
    ),
  );
}

async function list(session: Session): Promise<void> {
  const file = readContextFile(session.environment.contextFile);
  const rows = Object.entries(file.contexts).map(([name, { address, operator, domain }]) => {
    return { name, current: name === file.current, address, operator, domain };
  });
  if (session.json) return await session.document({ contexts: rows });
  await session.write(
    formatTable(
      ['', 'CONTEXT', 'CONTROLLER', 'OPERATOR', 'DOMAIN'].map((title) => ({ title })),
      rows.map((row) => [row.current ? '*' : '', row.name, row.address, row.operator, row.domain]),
    ),
  );
}
