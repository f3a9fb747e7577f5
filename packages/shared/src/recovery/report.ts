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
import { canonicalJson } from './report-json.ts';
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
    /** Why it is that one, and what should be known of it. */
    readonly pointFindings: readonly string[];
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
    // Reports of earlier controllers have none.
    pointFindings: z.array(z.string()).optional(),
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
  /** Of all events as they were, canonical with their times in ms, one a line. */
  eventsSha256: z.string(),
});
export type EvidenceReport = z.output<typeof reportSchema>;

interface Limits {
  /** Characters of a step's output. */
  readonly output: number;
  /** Characters of every other text. */
  readonly text: number;
  readonly events: number;
  /** Of a step. */
  readonly facts: number;
}

/** What is left out, the least that makes the report fit. The last always does: a plan has at most 500 steps, and 256 KiB. */
const LIMITS: readonly Limits[] = [
  { output: 4096, text: 1000, events: 2000, facts: 32 },
  { output: 512, text: 300, events: 500, facts: 16 },
  { output: 0, text: 80, events: 100, facts: 0 },
];

const FACT_MAX = 200;

/** A message to an operator holds so much, and leaves room for the signature. */
const REPORT_MAX_BYTES = 4 * 1024 * 1024;

export function makeReport(facts: RunFacts): EvidenceReport {
  const eventsSha256 = sha256(facts.events.map((one) => `${canonicalJson(one)}\n`).join(''));
  let report = limitedReport(facts, LIMITS[0]!, eventsSha256);
  for (const limits of LIMITS.slice(1)) {
    if (encodeReport(report).length <= REPORT_MAX_BYTES) break;
    report = limitedReport(facts, limits, eventsSha256);
  }
  return report;
}

function limitedReport(facts: RunFacts, limits: Limits, eventsSha256: string): EvidenceReport {
  const { plan, run } = facts;
  const measured = measureRun({ ...run, recoveryPointMs: run.recoveryPointMs });
  const events = facts.events.map((one) => eventOf(one, limits));
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
      reason: cut(run.reason, limits.text),
      fromHost: run.fromHost,
      toHost: run.toHost,
      epoch: run.epoch,
      startedBy: run.startedBy,
      startedAt: new Date(run.startedAtMs).toISOString(),
      finishedAt: iso(run.finishedAtMs),
      recoveryPoint: iso(run.recoveryPointMs),
      pointFindings: [...run.pointFindings],
    },
    times: times as EvidenceReport['times'],
    objectives: { rto: against(plan.rtoMs, measured.rtoMs), rpo: against(plan.rpoMs, measured.rpoMs) },
    steps: facts.steps.map((step) => stepOf(step, limits)),
    decisions: ends(
      events.filter(({ kind }) => kind === 'action'),
      limits.events / 4,
    ),
    events: ends(events, limits.events),
    eventsLeftOut: Math.max(0, events.length - limits.events),
    eventsSha256,
  };
}

function against(promisedMs: number, measuredMs: number | undefined): EvidenceReport['objectives']['rto'] {
  if (measuredMs === undefined) return { promisedMs, measuredMs: null, met: null };
  return { promisedMs, measuredMs, met: measuredMs <= promisedMs };
}

/** The first and the last. */
function ends<T>(all: readonly T[], most: number): T[] {
  return all.length <= most ? [...all] : [...all.slice(0, most / 2), ...all.slice(-most / 2)];
}

function stepOf(step: StepFacts, limits: Limits): EvidenceReport['steps'][number] {
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
    message: cut(step.message, limits.text),
    remedy: cut(step.remedy, limits.text),
    output: cut(step.output, limits.output),
    facts: Object.fromEntries(
      Object.entries(step.facts)
        .slice(0, limits.facts)
        .map(([name, value]) => [cut(name, FACT_MAX), cut(value, FACT_MAX)]),
    ),
  };
}

function eventOf(
  { sequence, atMs, actor, step, kind, message }: EventFacts,
  limits: Limits,
): EvidenceReport['events'][number] {
  return { sequence, at: new Date(atMs).toISOString(), actor, step, kind, message: cut(message, limits.text) };
}

/**
 * The beginning and the end: a program says first what it does, and last why it failed. Control characters, with which a text could drive the
 * terminal of who reads it, show as a replacement.
 */
function cut(text: string, most: number): string {
  const half = Math.floor(most / 2);
  const tail = half === 0 ? '' : text.slice(-half);
  const short =
    text.length <= most ? text : `${text.slice(0, half)}\n… ${text.length - 2 * half} characters left out …\n${tail}`;
  return short.toWellFormed().replaceAll('\r\n', '\n').replace(CONTROL, '\ufffd');
}

// oxlint-disable-next-line no-control-regex -- they are what is looked for; tab and line feed may stay
const CONTROL = /[\0-\b\v-\x1f\x7f-\x9f]/g;

function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
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
