// The evidence of a run: what was planned, what was done, by whom, when, and what it measured, as one canonical document that is signed.
//
// Hazard: a report that can't be checked later proves nothing. So the bytes are a function of the facts alone (RFC 8785: sorted members,
// no white space), everything that would make them grow without end is cut with a word about it, and the plan itself is inside.
//
// Invariants (report.test.ts): E1 the same facts give the same bytes, in whatever order their members stand; E2 a report is bounded;
// E3 what is read back from a document and written again has the bytes that were signed.
//
// Pure. Signatures are in report-signature.ts, words for people in report-markdown.ts and report-html.ts.

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { HoldfastError } from '../base/errors.ts';
import { measureRun, MOMENTS, type RunMoments } from './report-times.ts';

const FORMAT = 'holdfast-recovery-report/1';

/** What the catalog knows of a run. Times are Unix ms of its clock. */
export interface RunFacts {
  readonly controllerVersion: string;
  readonly domain: string;
  readonly plan: {
    readonly id: string;
    readonly name: string;
    readonly owner: string;
    readonly revision: number;
    readonly appliedAtMs: number;
    readonly appliedBy: string;
    /** YAML, as it was applied. */
    readonly document: string;
    readonly rtoMs: number;
    readonly rpoMs: number;
  };
  readonly run: {
    readonly id: string;
    readonly mode: string;
    readonly state: string;
    readonly reason: string;
    readonly fromHost: string;
    readonly toHost: string;
    readonly epoch: number;
    readonly startedBy: string;
    readonly startedAtMs: number;
    readonly finishedAtMs: number | undefined;
    readonly recoveryPointMs: number | undefined;
    readonly moments: RunMoments;
  };
  /** In the order of the document. */
  readonly steps: readonly StepFacts[];
  /** In order. */
  readonly events: readonly EventFacts[];
}

export interface StepFacts {
  readonly id: string;
  readonly type: string;
  /** Empty: the controller's own. */
  readonly host: string;
  readonly state: string;
  readonly attempt: number;
  readonly needs: readonly string[];
  readonly startedAtMs: number | undefined;
  readonly finishedAtMs: number | undefined;
  readonly message: string;
  readonly remedy: string;
  readonly output: string;
  readonly facts: Readonly<Record<string, string>>;
}

export interface EventFacts {
  readonly sequence: number;
  readonly atMs: number;
  readonly actor: string;
  readonly step: string;
  /** state | action | note; an action is what a person did. */
  readonly kind: string;
  readonly message: string;
}

const time = z.iso.datetime();
const moment = time.nullable();
const count = z.int().min(0);
const objective = z.object({ promisedMs: count, measuredMs: count.nullable(), met: z.boolean().nullable() });
const event = z.object({
  sequence: count,
  at: time,
  actor: z.string(),
  step: z.string(),
  kind: z.string(),
  message: z.string(),
});

const reportSchema = z.object({
  format: z.literal(FORMAT),
  controllerVersion: z.string(),
  domain: z.string(),
  plan: z.object({
    id: z.string(),
    name: z.string(),
    owner: z.string(),
    revision: count,
    appliedAt: time,
    appliedBy: z.string(),
    document: z.string(),
    documentSha256: z.string(),
  }),
  run: z.object({
    id: z.string(),
    mode: z.string(),
    state: z.string(),
    reason: z.string(),
    fromHost: z.string(),
    toHost: z.string(),
    epoch: count,
    startedBy: z.string(),
    startedAt: time,
    finishedAt: moment,
    recoveryPoint: moment,
  }),
  times: z.object(Object.fromEntries(MOMENTS.map(([key]) => [key, moment])) as Record<keyof RunMoments, typeof moment>),
  objectives: z.object({ rto: objective, rpo: objective }),
  steps: z.array(
    z.object({
      id: z.string(),
      type: z.string(),
      host: z.string(),
      state: z.string(),
      attempt: count,
      needs: z.array(z.string()),
      startedAt: moment,
      finishedAt: moment,
      message: z.string(),
      remedy: z.string(),
      output: z.string(),
      facts: z.record(z.string(), z.string()),
    }),
  ),
  /** What people did: approvals, skips, retries, and why. */
  decisions: z.array(event),
  events: z.array(event),
  /** From the middle. */
  eventsLeftOut: count,
  /** Of all events, canonical, one a line. */
  eventsSha256: z.string(),
});
export type EvidenceReport = z.output<typeof reportSchema>;

const OUTPUT_MAX = 4096;
const TEXT_MAX = 1000;
const EVENTS_MAX = 2000;
const DECISIONS_MAX = 500;

export function makeReport(facts: RunFacts): EvidenceReport {
  const { plan, run } = facts;
  const measured = measureRun({ ...run, recoveryPointMs: run.recoveryPointMs });
  const events = facts.events.map(eventOf);
  const times = Object.fromEntries(MOMENTS.map(([key]) => [key, iso(run.moments[key])]));
  return {
    format: FORMAT,
    controllerVersion: facts.controllerVersion,
    domain: facts.domain,
    plan: {
      id: plan.id,
      name: plan.name,
      owner: plan.owner,
      revision: plan.revision,
      appliedAt: new Date(plan.appliedAtMs).toISOString(),
      appliedBy: plan.appliedBy,
      document: plan.document,
      documentSha256: sha256(plan.document),
    },
    run: {
      id: run.id,
      mode: run.mode,
      state: run.state,
      reason: cut(run.reason, TEXT_MAX),
      fromHost: run.fromHost,
      toHost: run.toHost,
      epoch: run.epoch,
      startedBy: run.startedBy,
      startedAt: new Date(run.startedAtMs).toISOString(),
      finishedAt: iso(run.finishedAtMs),
      recoveryPoint: iso(run.recoveryPointMs),
    },
    times: times as EvidenceReport['times'],
    objectives: { rto: against(plan.rtoMs, measured.rtoMs), rpo: against(plan.rpoMs, measured.rpoMs) },
    steps: facts.steps.map(stepOf),
    decisions: events.filter(({ kind }) => kind === 'action').slice(0, DECISIONS_MAX),
    events:
      events.length <= EVENTS_MAX ? events : [...events.slice(0, EVENTS_MAX / 2), ...events.slice(-EVENTS_MAX / 2)],
    eventsLeftOut: Math.max(0, events.length - EVENTS_MAX),
    eventsSha256: sha256(events.map((each) => `${canonicalJson(each)}\n`).join('')),
  };
}

function against(promisedMs: number, measuredMs: number | undefined): EvidenceReport['objectives']['rto'] {
  if (measuredMs === undefined) return { promisedMs, measuredMs: null, met: null };
  return { promisedMs, measuredMs, met: measuredMs <= promisedMs };
}

function stepOf(step: StepFacts): EvidenceReport['steps'][number] {
  const { id, type, host, state, attempt, needs } = step;
  return {
    id,
    type,
    host,
    state,
    attempt,
    needs: [...needs],
    startedAt: iso(step.startedAtMs),
    finishedAt: iso(step.finishedAtMs),
    message: cut(step.message, TEXT_MAX),
    remedy: cut(step.remedy, TEXT_MAX),
    output: cut(step.output, OUTPUT_MAX),
    facts: { ...step.facts },
  };
}

function eventOf({ sequence, atMs, actor, step, kind, message }: EventFacts): EvidenceReport['events'][number] {
  return { sequence, at: new Date(atMs).toISOString(), actor, step, kind, message: cut(message, TEXT_MAX) };
}

/** The beginning and the end: a program says first what it does, and last why it failed. */
function cut(text: string, most: number): string {
  const clean = text.toWellFormed();
  if (clean.length <= most) return clean;
  const half = Math.floor(most / 2);
  const left = clean.length - 2 * half;
  return `${clean.slice(0, half)}\n… ${left} characters left out …\n${clean.slice(-half)}`.toWellFormed();
}

function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** JSON as RFC 8785 has it: members sorted by UTF-16 code units, no white space. `value`: what JSON can hold, and no undefined. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, held]) => `${JSON.stringify(key)}:${canonicalJson(held)}`).join(',')}}`;
}

/** The bytes that are signed. */
export function encodeReport(report: EvidenceReport): Buffer {
  return Buffer.from(canonicalJson(report));
}

/** What the bytes say. Members that a newer controller added are left out. Throws DAMAGED. */
export function decodeReport(bytes: Uint8Array): EvidenceReport {
  try {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
    return reportSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HoldfastError('DAMAGED', 'this is no recovery report that this program understands', { cause });
  }
}
