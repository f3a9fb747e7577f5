// `holdfast token`: API tokens for programs.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ROLES } from './operator.ts';
import type { Session } from './session/session.ts';
import { formatTime, isoTime } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const token = program.command('token').description('add and revoke API tokens').addHelpText('after', HELP);
  token
    .command('add')
    .description('make a token for a program; it is shown once')
    .argument('<label>', 'what it is for')
    .option('--days <days>', 'how long it is good for', '90')
    .option('--role <role>', 'at most this role, instead of your own', '')
    .action(async (label: string, options: { days: string; role: string }) => await add(session, label, options));
  token
    .command('revoke')
    .description('end a token, at once')
    .argument('<id>', 'its id, as `token add` said')
    .action(async (id: string) => {
      await (await session.operator()).revokeApiToken({ id });
      await (session.json ? session.document({ revoked: id }) : session.write(`Revoked token ${id}.\n`));
    });
}

async function add(session: Session, label: string, options: { days: string; role: string }): Promise<void> {
  const days = Number(options.days);
  if (!(days > 0 && days <= 3650)) throw new HoldfastError('USAGE', `--days ${options.days} is not a number of days`);
  if (options.role !== '' && !ROLES.some((role) => role === options.role)) {
    throw new HoldfastError('USAGE', `"${options.role}" is not a role`, { hint: `The roles are ${ROLES.join(', ')}.` });
  }
  const ttlSeconds = Math.round(days * 86_400);
  const answer = await (await session.operator()).addApiToken({ label, ttlSeconds, role: options.role });
  const expiresAtMs = Number(answer.expiresAtMs);
  if (session.json) {
    return await session.document({ id: answer.id, token: answer.token, label, expiresAt: isoTime(expiresAtMs) });
  }
  session.remark(`Token ${answer.id}, good until ${formatTime(expiresAtMs)}. It is shown only now:`);
  await session.write(`${answer.token}\n`);
}

const HELP = `
A program finds its token through a file: set HOLDFAST_TOKEN_FILE, HOLDFAST_ADDRESS and HOLDFAST_CA.

Examples:
  holdfast token add monitoring --role viewer > /etc/monitoring/holdfast-token
  holdfast token revoke 5f0c
`;
