// Hosts that work on their jobs as a test says, without agents or streams: they take them from the catalog and write what became of them.
//
// They remember what was really done, so a probe's answer is the truth, whatever was said before.

import { randomBytes } from 'node:crypto';

import { decodeHostStep } from '@holdfast/shared/recovery/host-step';
import { Job as WireJob, JobOutcome, JobSummary } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { StepJob } from '@holdfast/shared/rpc/gen/holdfast/v1/step';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import type { Catalog } from '../catalog/catalog.ts';
import type { FleetEvents } from '../fleet/fleet-events.ts';
import { finishJob, takeJobs, type Job } from '../fleet/jobs.ts';

export interface Worked {
  readonly host: string;
  /** Of a step; of a backup or restore, its source. */
  readonly name: string;
  readonly action: string;
  readonly kind: string;
  readonly attempt: number;
  readonly sandbox: string;
  readonly term: number;
  answer: string;
}

/** lost: the job ends, and nobody says what became of it. silence: it goes on for ever. undone: nothing was done, and that is said. */
export type Answer = 'ok' | 'failed' | 'unknown' | 'lost' | 'silence';

export class ScriptedHosts {
  readonly worked: Worked[] = [];
  readonly seen: WireJob[] = [];
  /** Undefined: ok. */
  answers: (work: Worked) => Answer | undefined = () => undefined;
  readonly #catalog: Catalog;
  readonly #events: FleetEvents;
  readonly #names: ReadonlyMap<string, string>;
  readonly #done = new Set<string>();
  readonly #unsubscribe: () => void;
  #working: Promise<void> = Promise.resolve();

  /** @param names of hosts, by id */
  constructor(catalog: Catalog, events: FleetEvents, names: ReadonlyMap<string, string>) {
    this.#catalog = catalog;
    this.#events = events;
    this.#names = names;
    this.#unsubscribe = events.subscribe((event) => {
      if (event.kind === 'jobs')
        this.#working = this.#working.then(() => this.#work(event.hostId)).catch(() => undefined);
    });
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#working;
  }

  /** How often the step was really applied at its host. */
  applied(step: string): number {
    return this.worked.filter((work) => work.name === step && work.action === 'apply').length;
  }

  async #work(hostId: string): Promise<void> {
    const jobs = await this.#catalog.transaction((client) => takeJobs(client, hostId));
    for (const job of jobs) await this.#carryOut(job);
  }

  async #carryOut(job: Job): Promise<void> {
    const wire = WireJob.decode(job.request);
    this.seen.push(wire);
    const host = this.#names.get(job.hostId) ?? job.hostId;
    const work = describe(wire, job, host);
    this.worked.push(work);
    const answer = this.answers(work) ?? 'ok';
    const key = `${host} ${work.name}`;
    if (work.action === 'apply' && answer !== 'failed') this.#done.add(key);
    if (work.action === 'undo') this.#done.delete(key);
    work.answer = answer;
    if (answer === 'silence') return;
    const outcome = answer === 'lost' ? undefined : this.#outcome(wire, work, answer, this.#done.has(key));
    if (job.kind === 'backup' && outcome?.result === 'done') outcome.summary = await this.#snapshot(job);
    await finishJob(this.#catalog.pool, job.id, job.hostId, {
      state: outcome?.result === 'done' ? 'done' : 'failed',
      outcome: outcome === undefined ? null : JobOutcome.encode(outcome).finish(),
      errorMessage: outcome === undefined ? 'the agent was restarted while it worked on this' : '',
    });
    await this.#events.tell(this.#catalog.pool, { kind: 'job', jobId: job.id });
  }

  async #snapshot(job: Job): Promise<JobSummary> {
    const id = randomBytes(32);
    await this.#catalog.pool.query(
      `insert into snapshot (domain_id, id, host_id, source_id, sequence, commit_record_id, committed_at, started_at_ms, entries, files,
         bytes_total, bytes_read, bytes_new, bytes_stored, duration_ms, partial, warnings_total, highest_pack_sequence)
       select $1, $2, $3, $4, coalesce(max(sequence), 0) + 1, $2, now(), 0, 1, 1, 1, 1, 1, 1, 1, false, 0, 1 from snapshot where source_id = $4`,
      [job.domainId, id, job.hostId, job.sourceId],
    );
    return JobSummary.fromPartial({ snapshotId: id });
  }

  #outcome(wire: WireJob, work: Worked, answer: Answer, isDone: boolean): JobOutcome {
    const result = answer === 'failed' ? 'failed' : 'done';
    if (wire.kind?.$case !== 'step' && wire.kind?.$case !== 'sandbox') {
      return JobOutcome.fromPartial({ result, errorMessage: answer === 'failed' ? 'scripted to fail' : '' });
    }
    const looked = isDone ? 'done' : 'not-done';
    const state = work.action === 'probe' && answer === 'ok' ? looked : answer;
    work.answer = state;
    const step: DeepPartial<NonNullable<JobOutcome['step']>> = {
      state,
      message: state === 'failed' ? 'scripted to fail' : '',
    };
    return JobOutcome.fromPartial({ result, step });
  }
}

function describe(wire: WireJob, job: Job, host: string): Worked {
  const common = { host, kind: job.kind, answer: '' };
  if (wire.kind?.$case === 'step') {
    const step: StepJob = wire.kind.value;
    decodeHostStep(step.spec);
    const { action, attempt, sandbox } = step;
    return { ...common, name: step.step, action, attempt, sandbox, term: Number(step.term) };
  }
  const sandbox = wire.kind?.$case === 'sandbox' || wire.kind?.$case === 'restore' ? wire.kind.value : undefined;
  const name = wire.kind?.$case === 'sandbox' ? 'sandbox' : job.sourceName;
  const action = wire.kind?.$case === 'sandbox' ? wire.kind.value.action : job.kind;
  const inside = sandbox !== undefined && 'sandbox' in sandbox ? sandbox.sandbox : '';
  return { ...common, name, action, attempt: 0, sandbox: inside, term: 0 };
}
