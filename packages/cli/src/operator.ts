// `holdfast operator`: the people who may work with this controller, and their roles.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DomainRole } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { readSecret } from './session/secret.ts';
import { repeated } from './session/repeated-option.ts';
import type { Session } from './session/session.ts';
import { formatTable } from './words/tables.ts';

export const ROLES = ['viewer', 'operator', 'approver', 'admin'] as const;

export function define(program: Command, session: Session): void {
  const operator = program
    .command('operator')
    .description('add and list operators, and set their roles')
    .addHelpText('after', HELP);
  operator
    .command('add')
    .description('add an operator; the password is asked for, or read from standard input')
    .argument('<name>')
    .option('--role <role>', `viewer, operator, approver or admin, or DOMAIN=ROLE; may be repeated`, repeated)
    .option('--password-file <file>', 'read the password from this file')
    .action(async (name: string, options: { role?: string[]; passwordFile?: string }) => {
      const roles = await Promise.all((options.role ?? []).map((text) => roleOf(session, text)));
      const password = await readSecret(session.environment, {
        file: options.passwordFile,
        prompt: `New password of ${name}: `,
      });
      await (await session.operator()).addOperator({ name, password, roles });
      await (session.json ? session.document({ operator: name, roles }) : session.write(`Added ${name}.\n`));
    });
  operator
    .command('ls')
    .description('every operator and their roles')
    .action(async () => {
      const { operators } = await (await session.operator()).listOperators({});
      if (session.json) return await session.document({ operators });
      const rows = operators.map(({ name, roles }) => [
        name,
        roles.map(({ domain, role }) => `${domain}=${role}`).join(' '),
      ]);
      await session.write(formatTable([{ title: 'OPERATOR' }, { title: 'ROLES' }], rows));
    });
  operator
    .command('role')
    .description('set the role of an operator in a domain')
    .argument('<name>')
    .argument('<role>', 'viewer, operator, approver, admin or none, or DOMAIN=ROLE')
    .action(async (name: string, text: string) => {
      const { domain, role } = await roleOf(session, text, true);
      await (await session.operator()).setRole({ operator: name, domain, role });
      if (session.json) return await session.document({ operator: name, domain, role });
      await session.write(`${name} is now ${role || 'without a role'}${domain === '' ? '' : ` in ${domain}`}.\n`);
    });
}

async function roleOf(session: Session, text: string, noneAllowed = false): Promise<DomainRole> {
  const [domain, role] = text.includes('=') ? text.split('=', 2) : [await session.domain(), text];
  if (noneAllowed && role === 'none') return { domain: domain ?? '', role: '' };
  if (!ROLES.some((known) => known === role)) {
    throw new HoldfastError('USAGE', `"${role}" is not a role`, { hint: `The roles are ${ROLES.join(', ')}.` });
  }
  return { domain: domain ?? '', role: role ?? '' };
}

const HELP = `
Roles: a viewer reads; an operator backs up, restores and adds; an approver confirms what needs a second person; an admin manages hosts, operators and tokens.

Examples:
  holdfast operator add erika --role operator
  holdfast operator role erika shop=admin
`;
