// `holdfast domain`: the walls between parties. Nothing is deduplicated, restored or seen across one.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DomainInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { Session } from './session/session.ts';
import { formatCount, formatSize } from './words/sizes.ts';
import { formatTable } from './words/tables.ts';

export function define(program: Command, session: Session): void {
  const domain = program
    .command('domain')
    .description('add and list domains, managed or sealed')
    .addHelpText('after', HELP);
  domain
    .command('add')
    .description('make a domain; for an admin of every domain')
    .argument('<name>', 'what it is called')
    .option('--sealed', 'the controller never gets its key: its hosts hand it to each other')
    .action(async (name: string, options: { sealed?: boolean }) => {
      const { domain: added } = await (await session.operator()).addDomain({ name, sealed: options.sealed === true });
      if (added === undefined)
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller answered without a domain');
      if (session.json) return await session.document({ domain: domainFields(added) });
      await session.write(`Added ${added.name}.\n${nextSteps(added)}`);
    });
  domain
    .command('ls')
    .description('the domains that you have a role in')
    .action(async () => {
      const { domains } = await (await session.operator()).listDomains({});
      if (session.json) return await session.document({ domains: domains.map(domainFields) });
      await session.write(domainTable(domains, session.width));
    });
}

function nextSteps({ name, sealed }: DomainInfo): string {
  const host = `holdfast host add HOST --domain ${name}`;
  if (!sealed) return `Add its first host with: ${host}\n`;
  return (
    'It is sealed: who has its secret reads its backups, and nobody else, this controller included.\n' +
    '  1. On its first host, make the secret:    holdfast-agent secret new FILE\n' +
    '     Keep a copy in a safe. If every copy is lost, so are the backups.\n' +
    `  2. Add every host with the same secret:   ${host}\n` +
    '     and on the host:                       holdfast-agent enrol TOKEN --domain-secret-file FILE\n'
  );
}

export function domainFields(domain: DomainInfo) {
  return {
    name: domain.name,
    id: domain.id,
    sealed: domain.sealed,
    hosts: domain.hosts,
    snapshots: Number(domain.snapshots),
    storedBytes: Number(domain.storedBytes),
    quotaBytes: Number(domain.quotaBytes),
  };
}

export function domainTable(domains: readonly DomainInfo[], width?: number): string {
  const right = { align: 'right' } as const;
  const rows = domains.map((domain) => [
    domain.name,
    domain.sealed ? 'sealed' : 'managed',
    formatCount(domain.hosts),
    formatCount(Number(domain.snapshots)),
    formatSize(Number(domain.storedBytes)),
    domain.quotaBytes === 0n ? '' : formatSize(Number(domain.quotaBytes)),
  ]);
  return formatTable(
    [
      { title: 'DOMAIN', cutTo: 20 },
      { title: 'KEY' },
      { title: 'HOSTS', ...right },
      { title: 'SNAPSHOTS', ...right },
      { title: 'STORED', ...right },
      { title: 'QUOTA', ...right },
    ],
    rows,
    width,
  );
}

const HELP = `
In a sealed domain hosts back up, restore and verify as in any other. What needs names is not to be had: browsing, finding,
comparing, and a verify that names damaged files by the controller's own reading.

Examples:
  holdfast domain add customer-a
  holdfast domain add customer-b --sealed
  holdfast domain ls
  holdfast host add web-1 --domain customer-b
`;
