// `source check` and `source discover`, and the check that comes before `source add`: the host itself is asked.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Finding, JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { StartJobResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { followJob } from './jobs/follow.ts';
import { EXIT_WARNINGS, outcomeError, warningFields, warningWords } from './jobs/summary.ts';
import { sourceName } from './session/selection.ts';
import type { Session } from './session/session.ts';
import { discoveredFields, discoveredWords, findingFields, findingWords, hasErrors } from './words/findings.ts';

export function defineChecks(source: Command, session: Session): void {
  source
    .command('check')
    .description('ask the host whether a source could be backed up, and what to mend')
    .argument('<source>', 'HOST/SOURCE')
    .action(async (argument: string) => await checkAgain(session, sourceName(argument)));
  source
    .command('discover')
    .description('ask a host what runs there that could be protected')
    .argument('<host>', 'the host')
    .action(async (host: string) => await discover(session, host));
}

/** What the host says of a source that is to be added. Throws FAILED_PRECONDITION, with every finding, when it could not be backed up. */
export async function checkBefore(
  session: Session,
  request: { readonly domain: string; readonly host: string; readonly spec: SourceSpec | undefined },
): Promise<readonly Finding[]> {
  const { findings } = await look(session, async () => (await session.operator()).checkSource(request));
  if (!hasErrors(findings)) return findings;
  if (session.json) await session.document({ findings: findings.map(findingFields) });
  else await session.write(findingWords(findings, session.width));
  throw new HoldfastError('FAILED_PRECONDITION', 'it was not added: it could not be backed up as it is', {
    hint: 'Mend what is marked ✘ and add it again, or add it as it is with --no-check.',
  });
}

async function checkAgain(session: Session, name: string): Promise<void> {
  const operator = await session.operator();
  const domain = await session.domain();
  const { source } = await operator.getSource({ domain, source: name });
  if (source?.spec === undefined) throw new HoldfastError('NOT_FOUND', `there is no source ${name}`);
  const { host, spec } = source;
  const { findings } = await look(session, () => operator.checkSource({ domain, host, spec }));
  if (hasErrors(findings)) session.exitCode = 1;
  else if (findings.some(({ level }) => level === 'warning')) session.exitCode = EXIT_WARNINGS;
  if (session.json) return await session.document({ source: name, findings: findings.map(findingFields) });
  await session.write(`${name}:\n${findingWords(findings, session.width)}`);
}

async function discover(session: Session, host: string): Promise<void> {
  const operator = await session.operator();
  const domain = await session.domain();
  const outcome = await look(session, () => operator.discoverSources({ domain, host }));
  const { discovered, warnings, warningsTotal } = outcome;
  if (warningsTotal > 0n) session.exitCode = EXIT_WARNINGS;
  if (session.json) {
    return await session.document({
      host,
      discovered: discovered.map((found) => discoveredFields(found, host)),
      warnings: warnings.map(warningFields),
    });
  }
  await session.write(
    discoveredWords(discovered, host, session.width) + warningWords(warnings, Number(warningsTotal), session.width),
  );
}

async function look(session: Session, start: () => Promise<StartJobResponse>): Promise<JobOutcome> {
  const { jobId } = await start();
  // A look answers with one document, so its events are not printed.
  const outcome = await followJob(session, jobId, { interrupt: 'cancel', quiet: true });
  const error = outcomeError(outcome);
  if (error !== undefined) throw error;
  return outcome;
}
