// Execution records: what a step began on this host, on disk before anything of it happens.
//
// Hazard: an agent that dies in mid-step and knows nothing of it afterwards starts a migration twice. And a record that is damaged must
// not read as "never started".
//
// Invariants (step-records.test.ts): E1 a record is durable, file and directories, when `write` returns; E2 a run's records go once it is
// long over, or too many others came after, and never while something of it is alive; E3 a damaged record is an error, not an absence.
//
// One file for each step of a run: `steps/RUN/STEP.json`. Beside it is what its program left (supervised-program.ts).

import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { z } from 'zod';
import { replaceFileDurably, systemFiles } from '../../link/durable-file.ts';
import { isAlive } from './process-identity.ts';

const processSchema = z.object({ pid: z.int().min(1), startTime: z.string(), bootId: z.string() });
const recordSchema = z.object({
  application: z.string(),
  step: z.string(),
  attempt: z.int().min(1),
  action: z.enum(['apply', 'undo']),
  /** begun: it may have happened, or half of it. ended: `report` says how. */
  state: z.enum(['begun', 'ended']),
  bootId: z.string(),
  /** Wall clock, for people. */
  startedAtMs: z.number(),
  /** On the clock that counts from the boot. */
  endsBySinceBootMs: z.number(),
  /** The supervisor of the program that was started last. */
  process: processSchema.optional(),
  report: z
    .object({
      state: z.enum(['ok', 'failed', 'unknown']),
      message: z.string(),
      remedy: z.string(),
      facts: z.record(z.string(), z.string()),
    })
    .optional(),
  /** What the type remembers, of apply and undo. */
  memory: z.record(z.string(), z.string()),
});
export type StepRecord = z.output<typeof recordSchema>;

const FOLDER = 'steps';
const RUNS_KEPT = 64;
const KEEP_MS = 30 * 24 * 3_600_000;
const RECORD_MAX_BYTES = 256 * 1024;
const MEMORY_MAX_BYTES = 64 * 1024;

export class StepRecords {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, FOLDER);
  }

  /** Undefined: nothing of the step ever began here. Throws DAMAGED. */
  read(run: string, step: string): StepRecord | undefined {
    return readRecord(join(this.#folder, run, `${step}.json`));
  }

  /** @param nowMs wall clock. Throws LIMIT_EXCEEDED, STORAGE_FULL …: then it must not begin. */
  write(run: string, record: StepRecord, nowMs: number): void {
    if (Buffer.byteLength(JSON.stringify(record.memory)) > MEMORY_MAX_BYTES) {
      throw new HoldfastError('LIMIT_EXCEEDED', 'a step may remember no more than 64 KiB');
    }
    const directory = this.#directory(run, nowMs);
    replaceFileDurably(directory, `${record.step}.json`, Buffer.from(JSON.stringify(record)), randomUUID());
  }

  /** Where the program of a step leaves its files. The run must have a record. */
  base(run: string, step: string): string {
    return join(this.#folder, run, step);
  }

  #directory(run: string, nowMs: number): string {
    const directory = join(this.#folder, run);
    const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (made !== undefined) {
      systemFiles.syncDirectory(this.#folder);
      systemFiles.syncDirectory(join(this.#folder, '..'));
      this.#cleanUp(run, nowMs);
    }
    return directory;
  }

  /** With each new run. */
  #cleanUp(current: string, nowMs: number): void {
    const runs = readdirSync(this.#folder)
      .filter((run) => run !== current)
      .map((run) => ({ run, touchedMs: statSync(join(this.#folder, run)).mtimeMs }))
      .toSorted((a, b) => b.touchedMs - a.touchedMs);
    runs.forEach(({ run, touchedMs }, index) => {
      const over = index >= RUNS_KEPT - 1 || nowMs - touchedMs > KEEP_MS;
      if (over && !this.#alive(run)) rmSync(join(this.#folder, run), { recursive: true, force: true });
    });
  }

  #alive(run: string): boolean {
    return readdirSync(join(this.#folder, run)).some((file) => {
      if (!file.endsWith('.json')) return false;
      try {
        const record = readRecord(join(this.#folder, run, file));
        return record?.state === 'begun' && record.process !== undefined && isAlive(record.process);
      } catch {
        return false;
      }
    });
  }
}

function readRecord(path: string): StepRecord | undefined {
  let text: string;
  try {
    if (statSync(path).size > RECORD_MAX_BYTES) throw damaged(path);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch {
    throw damaged(path);
  }
}

function damaged(path: string): HoldfastError {
  return new HoldfastError('DAMAGED', `the record of what a step began can't be read (${path})`, {
    hint: 'See on the host what became of the step, then skip or retry it.',
  });
}
