// `holdfast status`: what is protected, and what needs attention. Exits with 3 when something does.

import type { Command } from 'commander';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { GetStatusResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { PlanInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { hostFields, hostTable } from './host.ts';
import { jobFields } from './job.ts';
import { EXIT_WARNINGS } from './jobs/summary.ts';
import { planFields, planTable, planWorries } from './recovery/plan-words.ts';
import type { Session } from './session/session.ts';
import { wrapped } from './words/lines.ts';
import { sourceFields, sourceTable } from './words/sources.ts';
import { formatCount, formatSize } from './words/sizes.ts';

export function define(program: Command, session: Session): void {
  program
    .command('status')
    .description('what is protected, and what needs attention')
    .addHelpText('after', HELP)
    .action(async () => {
      const domain = await session.domain();
      const [answer, plans] = await Promise.all([(await session.operator()).getStatus({ domain }), plansOf(session)]);
      const nowMs = session.environment.now();
      const status = { ...answer, attention: [...answer.attention, ...planWorries(plans, nowMs)] };
      if (status.attention.length > 0) session.exitCode = EXIT_WARNINGS;
      if (session.json) return await session.document({ ...statusFields(status), plans: plans.map(planFields) });
      await session.write(statusWords(status, plans, nowMs, session.width));
    });
}

/** None of a controller that knows no plans. */
async function plansOf(session: Session): Promise<PlanInfo[]> {
  try {
    return (await (await session.recovery()).listPlans({ domain: await session.domain() })).plans;
  } catch (thrown) {
    if (toHoldfastError(thrown).code === 'UNSUPPORTED_VERSION') return [];
    throw thrown;
  }
}

function statusFields(status: GetStatusResponse) {
  const { vault } = status;
  return {
    controllerVersion: status.controllerVersion,
    attention: status.attention.map(({ level, subject, message, hint }) => ({ level, subject, message, hint })),
    hosts: status.hosts.map(hostFields),
    sources: status.sources.map(sourceFields),
    running: status.running.map(jobFields),
    vault: {
      objects: Number(vault?.objects ?? 0),
      storedBytes: Number(vault?.storedBytes ?? 0),
      packs: Number(vault?.packs ?? 0),
      snapshots: Number(vault?.snapshots ?? 0),
      freeBytes: Number(vault?.freeBytes ?? 0),
      reserveBytes: Number(vault?.reserveBytes ?? 0),
      quotaBytes: Number(vault?.quotaBytes ?? 0),
      trouble: vault?.trouble || null,
    },
  };
}

function statusWords(
  status: GetStatusResponse,
  plans: readonly PlanInfo[],
  nowMs: number,
  width: number | undefined,
): string {
  const sections: string[] = [];
  const attention = status.attention.map(({ level, subject, message, hint }) =>
    [
      wrapped(`${level === 'critical' ? '!!' : ' !'} ${subject}: ${message}`, 3, width),
      ...(hint === '' ? [] : [`   ${wrapped(hint, 3, width)}`]),
    ].join('\n'),
  );
  sections.push(attention.length === 0 ? 'Nothing needs attention.\n' : `${attention.join('\n')}\n`);
  if (plans.length > 0) sections.push(planTable(plans, nowMs, width));
  if (status.hosts.length > 0) sections.push(hostTable(status.hosts, nowMs, width));
  if (status.sources.length > 0) sections.push(sourceTable(status.sources, nowMs, width));
  if (status.running.length > 0) {
    sections.push(status.running.map((job) => `${job.kind} of ${job.source} is ${job.state} (${job.id})\n`).join(''));
  }
  if (status.vault !== undefined) {
    const { snapshots, storedBytes, packs, freeBytes, quotaBytes } = status.vault;
    const quota = quotaBytes === 0n ? '' : ` of ${formatSize(Number(quotaBytes))}`;
    sections.push(
      wrapped(
        `Vault: ${formatCount(Number(snapshots))} snapshots in ${formatSize(Number(storedBytes))}${quota} (${formatCount(Number(packs))} packs), ` +
          `${formatSize(Number(freeBytes))} free. Controller ${status.controllerVersion}.`,
        0,
        width,
      ) + '\n',
    );
  }
  return sections.join('\n');
}

const HELP = `
Exits with 3 when something needs attention, so that a monitor can run it.

Examples:
  holdfast status
  holdfast status --json | jq '.attention[]'
`;
