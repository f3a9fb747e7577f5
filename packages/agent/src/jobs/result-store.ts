// Jobs that were begun and results that nobody has acknowledged yet, on disk.
//
// Hazard: a result that is lost with a connection or with this process leaves an operator who waits for ever, or a
// controller that believes that a dead job still runs (threats 15, 21). So a job is noted before it starts and its result
// before it is sent, and forgotten when the controller says that it has it.
//
// Invariants (result-store.test.ts): S1 a result survives a restart until it was received; S2 a job that was running when
// the process died has the result "the agent was restarted"; S3 a job's id never becomes a path; S4 at most `keep` results
// are held, the oldest go first.

import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, isErrorCode, type ErrorCode } from '@holdfast/shared/base/errors';
import { makeDirectory } from '@holdfast/shared/runtime/make-directory';
import { z } from 'zod';
import { replaceFileDurably } from '../link/durable-file.ts';
import type { JobOutcome } from './job.ts';
import { outcomeOfError } from './outcome.ts';

export interface ResultStore {
  /** Notes that the job is about to start. Throws when that cannot be kept: then it must not start. */
  begun(jobId: string): void;
  finished(jobId: string, outcome: JobOutcome): void;
  /** The controller has the result. */
  received(jobId: string): void;
  /** Results not yet received, oldest first. */
  pending(): readonly PendingResult[];
  outcomeOf(jobId: string): JobOutcome | undefined;
}

export interface PendingResult {
  readonly jobId: string;
  readonly outcome: JobOutcome;
}

const FOLDER = 'jobs';
const KEEP = 1000;

const errorCode = z.custom<ErrorCode>((value) => typeof value === 'string' && isErrorCode(value));
const count = z.number().min(0);
const settings = z.record(z.string(), z.string());
const outcomeSchema = z.object({
  result: z.enum(['done', 'warnings', 'failed', 'cancelled']),
  summary: z.object({
    snapshotId: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .transform((hex) => Buffer.from(hex, 'hex'))
      .optional(),
    entries: count,
    files: count,
    filesChanged: count,
    bytesTotal: count,
    bytesRead: count,
    bytesNew: count,
    bytesStored: count,
    durationMs: count,
    partial: z.boolean(),
  }),
  warnings: z.array(z.object({ code: z.string(), path: z.string(), message: z.string() })),
  warningsTotal: count,
  planned: z
    .object({
      dryRun: z.boolean(),
      created: count,
      changed: count,
      metadata: count,
      unchanged: count,
      deleted: count,
      bytesWritten: count,
      bytesUnchanged: count,
      bytesFetched: count,
      examples: z.array(z.object({ action: z.enum(['create', 'change', 'metadata', 'delete']), path: z.string() })),
    })
    .optional(),
  findings: z
    .array(
      z.object({
        level: z.enum(['error', 'warning', 'ok']),
        subject: z.string(),
        message: z.string(),
        remedy: z.string(),
      }),
    )
    .optional(),
  discovered: z
    .array(
      z.object({
        type: z.string(),
        name: z.string(),
        settings,
        description: z.string(),
        command: z.string(),
      }),
    )
    .optional(),
  reached: z
    .object({
      stream: z.object({ systemIdentifier: z.string(), timeline: count }),
      position: z.object({
        order: z
          .string()
          .regex(/^\d{1,20}$/)
          .transform(BigInt),
        text: z.string(),
      }),
      lastCommitAtMs: count,
      running: z.boolean(),
      connect: z.string(),
      replayMs: count,
      facts: settings,
    })
    .optional(),
  step: z
    .object({
      state: z.enum(['ok', 'failed', 'done', 'not-done', 'running', 'unknown']),
      message: z.string(),
      remedy: z.string(),
      output: z.base64().transform((text) => Buffer.from(text, 'base64')),
      facts: settings,
    })
    .optional(),
  failure: z.object({ code: errorCode, message: z.string(), hint: z.string() }).optional(),
});
const recordSchema = z.object({
  jobId: z.string(),
  order: z.number(),
  outcome: outcomeSchema.optional(),
});

interface JobRecord {
  readonly jobId: string;
  readonly order: number;
  readonly outcome?: JobOutcome;
}

/** Opens the store below `stateDir`; jobs that an earlier process left unfinished become failed results. */
export function openResultStore(stateDir: string, keep = KEEP): ResultStore {
  const folder = join(stateDir, FOLDER);
  makeDirectory(folder, 0o700);
  const records = new Map<string, JobRecord>();
  for (const record of readRecords(folder)) records.set(record.jobId, record);
  let nextOrder = 1 + Math.max(0, ...Array.from(records.values(), (record) => record.order));

  const write = (record: JobRecord): void => {
    replaceFileDurably(folder, fileName(record.jobId), Buffer.from(stored(record)), randomUUID());
    records.set(record.jobId, record);
  };
  const remove = (jobId: string): void => {
    rmSync(join(folder, fileName(jobId)), { force: true });
    records.delete(jobId);
  };
  const finished = (jobId: string, outcome: JobOutcome): void => {
    write({ jobId, order: records.get(jobId)?.order ?? nextOrder++, outcome });
    const results = [...records.values()].filter((record) => record.outcome !== undefined).toSorted(byOrder);
    for (const old of results.slice(0, Math.max(0, results.length - keep))) remove(old.jobId);
  };

  for (const record of records.values()) {
    if (record.outcome === undefined) finished(record.jobId, restarted());
  }
  return {
    begun: (jobId) => write({ jobId, order: nextOrder++ }),
    finished,
    received: remove,
    pending: () =>
      [...records.values()]
        .toSorted(byOrder)
        .flatMap(({ jobId, outcome }) => (outcome === undefined ? [] : [{ jobId, outcome }])),
    outcomeOf: (jobId) => records.get(jobId)?.outcome,
  };
}

function restarted(): JobOutcome {
  const hint = 'Start the job again; what was stored before is reused.';
  const error = new HoldfastError('INTERNAL', 'the agent was restarted while the job ran', { hint });
  return outcomeOfError(error, false, 0, []);
}

function byOrder(a: JobRecord, b: JobRecord): number {
  return a.order - b.order;
}

/** A job's id comes from the controller, so it names no file itself. */
function fileName(jobId: string): string {
  return `${createHash('sha256').update(jobId).digest('hex')}.json`;
}

function stored(record: JobRecord): string {
  const { outcome } = record;
  const numbers = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);
  if (outcome === undefined) return JSON.stringify(record, numbers);
  const { snapshotId: id, ...counts } = outcome.summary;
  const summary = id === undefined ? counts : { ...counts, snapshotId: Buffer.from(id).toString('hex') };
  const step = outcome.step && { ...outcome.step, output: outcome.step.output.toString('base64') };
  return JSON.stringify({ ...record, outcome: { ...outcome, summary, step } }, numbers);
}

function readRecords(folder: string): JobRecord[] {
  const found: JobRecord[] = [];
  for (const name of readdirSync(folder)) {
    if (!/^[0-9a-f]{64}\.json$/.test(name)) continue;
    const record = parseRecord(readFileSync(join(folder, name), 'utf8'));
    // A damaged note says nothing that could be reported; the controller fails such a job by itself.
    if (record === undefined) rmSync(join(folder, name), { force: true });
    else found.push(record);
  }
  return found;
}

function parseRecord(text: string): JobRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = recordSchema.safeParse(value);
  if (!parsed.success) return undefined;
  const { jobId, order, outcome } = parsed.data;
  if (outcome === undefined) return { jobId, order };
  const { summary, ...rest } = outcome;
  const { snapshotId, ...counts } = summary;
  return {
    jobId,
    order,
    outcome: withoutAbsent({ ...rest, summary: snapshotId === undefined ? counts : { ...counts, snapshotId } }),
  };
}

type Present<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Optional parts that the schema answers as undefined are not there at all. */
function withoutAbsent<T extends object>(value: T): Present<T> {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as Present<T>;
}
