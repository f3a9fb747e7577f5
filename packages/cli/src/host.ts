// `holdfast host`: the machines that are protected, and their certificates.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { HostInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { Session } from './session/session.ts';
import { sourceFields, sourceTable } from './words/sources.ts';
import { formatFields, formatTable } from './words/tables.ts';
import { formatAge, formatTime, isoTime } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const host = program.command('host').description('add, list, show and revoke hosts').addHelpText('after', HELP);
  host
    .command('add')
    .description('make the one line that enrols a host')
    .argument('<name>', 'what the host is called')
    .option('--ttl <minutes>', 'how long the token is good for, at most a day', '60')
    .option('--replace', 'a new machine takes over a known name; the old certificates end when the token is used')
    .action(async (name: string, options: { ttl: string; replace?: boolean }) => await add(session, name, options));
  host
    .command('ls')
    .description('every host and its state')
    .action(async () => await list(session));
  host
    .command('show')
    .description('one host: state, certificates, sources')
    .argument('<name>')
    .action(async (name: string) => await show(session, name));
  host
    .command('revoke')
    .description('end every certificate of a host, at once; its snapshots stay')
    .argument('<name>')
    .action(async (name: string) => {
      const domain = await session.domain();
      const { certificates } = await (await session.operator()).revokeHost({ domain, name });
      if (session.json) return await session.document({ host: name, certificatesRevoked: certificates });
      await session.write(`${name}: ${certificates} ${certificates === 1 ? 'certificate' : 'certificates'} revoked.\n`);
    });
}

async function add(session: Session, name: string, options: { ttl: string; replace?: boolean }): Promise<void> {
  const minutes = Number(options.ttl);
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > 24 * 60) {
    throw new HoldfastError('USAGE', `--ttl ${options.ttl} is not a number of minutes from 1 to 1440`);
  }
  const answer = await (
    await session.operator()
  ).addHost({
    domain: await session.domain(),
    name,
    ttlSeconds: minutes * 60,
    replace: options.replace === true,
  });
  const expiresAtMs = Number(answer.expiresAtMs);
  if (session.json) {
    const { token, command } = answer;
    return await session.document({ host: name, token, command, expiresAt: isoTime(expiresAtMs) });
  }
  session.remark(`Run this on ${name}, once, before ${formatTime(expiresAtMs)}:`);
  await session.write(`${answer.command}\n`);
}

async function list(session: Session): Promise<void> {
  const { hosts } = await (await session.operator()).listHosts({ domain: await session.domain() });
  if (session.json) return await session.document({ hosts: hosts.map(hostFields) });
  await session.write(hostTable(hosts, session.environment.now(), session.width));
}

/** @param width of the terminal; without one, as wide as it gets */
export function hostTable(hosts: readonly HostInfo[], nowMs: number, width?: number): string {
  const rows = hosts.map((host) => [
    host.name,
    host.state,
    formatAge(Number(host.lastSeenMs), nowMs),
    host.agentVersion,
    host.os,
    host.domain,
  ]);
  return formatTable(
    [
      { title: 'HOST', cutTo: 20 },
      { title: 'STATE' },
      { title: 'SEEN' },
      { title: 'AGENT', spare: true },
      { title: 'SYSTEM', cutTo: 12 },
      { title: 'DOMAIN', cutTo: 12 },
    ],
    rows,
    width,
  );
}

export function hostFields(host: HostInfo) {
  return {
    name: host.name,
    id: host.id,
    domain: host.domain,
    state: host.state,
    lastSeenAt: isoTime(Number(host.lastSeenMs)),
    enrolledAt: isoTime(Number(host.enrolledAtMs)),
    agentVersion: host.agentVersion,
    os: host.os,
    address: host.address,
  };
}

async function show(session: Session, name: string): Promise<void> {
  const answer = await (await session.operator()).getHost({ domain: await session.domain(), name });
  const host = answer.host;
  if (host === undefined) throw new HoldfastError('NOT_FOUND', `there is no host ${name}`);
  const certificates = answer.certificates.map((certificate) => ({
    fingerprint: certificate.fingerprint,
    notBefore: isoTime(Number(certificate.notBeforeMs)),
    notAfter: isoTime(Number(certificate.notAfterMs)),
    revoked: certificate.revoked,
  }));
  if (session.json) {
    return await session.document({ host: hostFields(host), certificates, sources: answer.sources.map(sourceFields) });
  }
  const seenMs = Number(host.lastSeenMs);
  await session.write(
    formatFields(
      [
        ['Host', host.name],
        ['State', host.state],
        ['Seen', `${formatTime(seenMs)} (${formatAge(seenMs, session.environment.now())})`],
        ['Enrolled', formatTime(Number(host.enrolledAtMs))],
        ['Agent', host.agentVersion],
        ['System', host.os],
        ['Address', host.address],
        ['Domain', host.domain],
      ],
      session.width,
    ),
  );
  const rows = answer.certificates.map((certificate) => [
    certificate.fingerprint.slice(0, 16),
    formatTime(Number(certificate.notAfterMs)),
    certificate.revoked ? 'revoked' : 'valid',
  ]);
  await session.write(`\n${formatTable([{ title: 'CERTIFICATE' }, { title: 'UNTIL' }, { title: 'STATE' }], rows)}`);
  if (answer.sources.length > 0)
    await session.write(`\n${sourceTable(answer.sources, session.environment.now(), session.width)}`);
}

const HELP = `
Examples:
  holdfast host add web-1             # prints the line to run on web-1
  holdfast host add web-1 --replace   # a new machine of that name
  holdfast host revoke web-1
`;
