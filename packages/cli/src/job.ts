// `holdfast job`: what runs and ran.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { followJob } from './jobs/follow.ts';
import { endWords } from './jobs/run-job.ts';
import { exitCodeOf, outcomeError, summaryEvent, type JobKind, type JobSubject } from './jobs/summary.ts';
import { sourceName } from './session/selection.ts';
import { ID_PREFIX_LENGTH } from './words/names.ts';
import type { Session } from './session/session.ts';
import { formatTable } from './words/tables.ts';
import { formatTime, isoTime, withoutSeconds } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const job = program
    .command('job')
    .description('list, watch and cancel backups, restores and verifications')
    .addHelpText('after', HELP);
  job
    .command('ls')
    .description('the newest jobs')
    .argument('[source]', 'only those of HOST/SOURCE')
    .option('--limit <count>', 'how many', '50')
    .action(
      async (source: string | undefined, options: { limit: string }) => await list(session, source, options.limit),
    );
  job
    .command('watch')
    .description('follow a job to its end; Ctrl-C stops following it')
    .argument('<job>', 'its id')
    .action(async (id: string) => await watch(session, id));
  job
    .command('cancel')
    .description('ask for the end of a job')
    .argument('<job>', 'its id')
    .action(async (typed: string) => {
      const { id } = await namedJob(session, typed);
      await (await session.operator()).cancelJob({ jobId: id });
      await (session.json ? session.document({ cancelled: id }) : session.write(`Asked job ${id} to end.\n`));
    });
}

async function list(session: Session, source: string | undefined, limitText: string): Promise<void> {
  const limit = Math.max(1, Math.trunc(Number(limitText)) || 1);
  const { jobs } = await (
    await session.operator()
  ).listJobs({ domain: await session.domain(), source: source === undefined ? '' : sourceName(source), limit });
  if (session.json) return await session.document({ jobs: jobs.map(jobFields) });
  const rows = jobs.map((job) => [
    job.id,
    job.kind,
    job.source,
    job.host,
    job.state,
    formatTime(Number(job.createdAtMs)),
  ]);
  await session.write(
    formatTable(
      [
        { title: 'JOB', brief: (id) => id.slice(0, ID_PREFIX_LENGTH) },
        { title: 'KIND' },
        { title: 'SOURCE', cutTo: 12 },
        { title: 'ON', cutTo: 8 },
        { title: 'STATE' },
        { title: 'STARTED', brief: withoutSeconds },
      ],
      rows,
      session.width,
    ),
  );
}

export interface JobFields {
  readonly id: string;
  readonly kind: string;
  readonly host: string;
  readonly source: string;
  readonly state: string;
  readonly createdAt: string | null;
  readonly finishedAt: string | null;
  readonly error: string | null;
}

export function jobFields(job: JobInfo): JobFields {
  return {
    id: job.id,
    kind: job.kind,
    host: job.host,
    source: job.source,
    state: job.state,
    createdAt: isoTime(Number(job.createdAtMs)),
    finishedAt: isoTime(Number(job.finishedAtMs)),
    error: job.errorMessage || null,
  };
}

const JOBS_SEARCHED = 1000;

/** By its id, or a beginning of it that no other of the newest jobs shares. Throws NOT_FOUND, USAGE. */
async function namedJob(session: Session, typed: string): Promise<{ id: string; known: JobInfo | undefined }> {
  const { jobs } = await (await session.operator()).listJobs({ domain: await session.domain(), limit: JOBS_SEARCHED });
  const whole = jobs.find((job) => job.id === typed);
  if (whole !== undefined || typed.length >= JOB_ID_LENGTH) return { id: typed, known: whole };
  const found = typed.length < ID_PREFIX_LENGTH ? [] : jobs.filter((job) => job.id.startsWith(typed.toLowerCase()));
  if (found.length === 1) return { id: found[0]!.id, known: found[0] };
  if (found.length > 1) throw new HoldfastError('USAGE', `${found.length} jobs begin with ${typed}: type more of it`);
  throw new HoldfastError('NOT_FOUND', `there is no job ${typed}`, {
    hint: `See: holdfast job ls. At least ${ID_PREFIX_LENGTH} characters of an id name a job.`,
  });
}

const JOB_ID_LENGTH = 36;

async function watch(session: Session, typed: string): Promise<void> {
  const { id, known } = await namedJob(session, typed);
  const subject: JobSubject = { kind: kindOf(known?.kind), source: known?.source ?? '', job: id };
  const outcome = await followJob(session, id, { interrupt: 'leave' });
  session.exitCode = exitCodeOf(outcome);
  if (session.json) await session.event(summaryEvent(subject, outcome));
  if (!session.json) await session.write(endWords(subject, outcome, session.width));
  const error = outcomeError(outcome);
  if (error !== undefined) throw error;
}

function kindOf(kind: string | undefined): JobKind {
  return kind === 'restore' || kind === 'verify' ? kind : 'backup';
}

const HELP = `
Examples:
  holdfast job ls web-1/site
  holdfast job watch 7d0c2c9e
`;
