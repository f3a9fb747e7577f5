// The recovery plan document: its fields, their defaults, and complaints that name line, column and field.
//
// Hazard: a plan is read first on the day of the disaster. So nothing that is misspelt or unknown is let through.
//
// Pure. What the fields mean together is checked in check-plan.ts. Tested in plan.test.ts.

import { LineCounter, parseDocument, type Document } from 'yaml';
import { z } from 'zod';
import { didYouMean, nearNames } from '../base/near-names.ts';
import { duration, name, serviceCommands, STEP_TYPES, stepSchema, text } from './step-types.ts';

const TEXT_MAX_BYTES = 256 * 1024;
const STEPS_MAX = 500;

/** Where a message goes: addresses, or a URL that gets it signed with the secret of this name. */
export const contact = z.strictObject({
  email: z.array(text).max(16).default([]),
  webhook: z.strictObject({ url: text, secret: name.optional() }).optional(),
});
export type Contact = z.output<typeof contact>;

const onFailure = z.enum(['pause', 'continue', 'rollback']);
const planSchema = z.strictObject({
  apiVersion: z.literal('holdfast/v1'),
  kind: z.literal('RecoveryPlan'),
  metadata: z.strictObject({
    name,
    owner: text,
    priority: z.int().min(0).max(1000).default(100),
    dependsOn: z.array(name).max(64).default([]),
  }),
  objectives: z.strictObject({ rto: duration, rpo: duration, drillEvery: duration.optional() }),
  placement: z.strictObject({
    hosts: z.array(name).length(2, 'two hosts were expected: the first primary, then the standby'),
    mode: z.enum(['cold', 'warm']).default('cold'),
    vars: z.record(z.string(), z.record(z.string(), text)).default({}),
  }),
  /** Services that systemd does not know, by name. */
  services: z.record(name, serviceCommands).default({}),
  /** TCP ports that only the host that serves lets in; without it: those of the URLs that are checked. */
  ports: z.array(z.int().min(1).max(65_535)).max(64).optional(),
  /** Who is told, by the names that notify steps use; the controller's settings may have more. */
  contacts: z.record(name, contact).default({}),
  secrets: z.array(name).max(64).default([]),
  render: z
    .array(z.strictObject({ file: text, replace: z.record(z.string(), z.string()) }))
    .max(64)
    .default([]),
  sources: z.array(name).min(1, 'at least one source was expected').max(64),
  detect: z
    .strictObject({
      mode: z.enum(['manual', 'approve', 'automatic']),
      suspectAfter: duration.optional(),
      witnesses: z.strictObject({ hosts: z.array(name).min(1), agree: z.int().min(1), probe: text }).optional(),
      holdoff: duration.optional(),
    })
    .default({ mode: 'manual' }),
  fence: z.strictObject({ script: text.optional(), ifUnconfirmed: z.literal('ask').default('ask') }).optional(),
  recoveryPoint: z
    .strictObject({
      default: z.enum(['latest', 'latest-clean']).default('latest-clean'),
      maxAge: duration.optional(),
      align: z.enum(['each-latest', 'consistent']).default('each-latest'),
    })
    .prefault({}),
  approvals: z
    .strictObject({
      roles: z.array(text).min(1),
      need: z.int().min(1),
      timeout: duration,
      onTimeout: z.literal('pause'),
    })
    .optional(),
  onFailure: onFailure.default('pause'),
  limits: z.strictObject({ parallel: z.int().min(1).max(64).default(4) }).prefault({}),
  drill: z.strictObject({ host: text.default('standby'), ttl: duration }).optional(),
  steps: z.array(stepSchema).min(1, 'at least one step was expected').max(STEPS_MAX, 'a plan has at most 500 steps'),
  after: z
    .strictObject({
      commit: z.strictObject({ policy: z.enum(['manual', 'automatic']), remindAfter: duration.optional() }),
      reprotect: z.enum(['on-commit', 'manual']).default('on-commit'),
    })
    .optional(),
});

export type Plan = z.output<typeof planSchema>;
export type FieldPath = readonly (string | number)[];

export interface Finding {
  readonly line: number;
  readonly column: number;
  /** As `steps[3].needs[0]`; empty for the whole document. */
  readonly field: string;
  readonly message: string;
}

export interface ParsedPlan {
  /** Undefined when there are findings. */
  readonly plan: Plan | undefined;
  readonly findings: readonly Finding[];
  /** A finding at the field, or at the nearest one around it that the document has. */
  readonly findingAt: (path: FieldPath, message: string) => Finding;
}

/** Never throws for what a document says: all that is wrong with it is in `findings`. */
export function parsePlan(source: string): ParsedPlan {
  const lines = new LineCounter();
  if (Buffer.byteLength(source) > TEXT_MAX_BYTES) {
    const finding = { line: 1, column: 1, field: '', message: 'a plan has at most 256 KiB' };
    return { plan: undefined, findings: [finding], findingAt: () => finding };
  }
  const document = parseDocument(source, { lineCounter: lines });
  const findingAt = (path: FieldPath, message: string): Finding => {
    return { ...positionOf(document, lines, path), field: fieldName(path), message };
  };
  if (document.errors.length > 0) {
    const findings = document.errors.map((error) => {
      const { line, col } = lines.linePos(error.pos[0]);
      return { line, column: col, field: '', message: error.message.split('\n')[0]!.replace(/ at line \d+.*$/, '') };
    });
    return { plan: undefined, findings, findingAt };
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch {
    return { plan: undefined, findings: [findingAt([], 'a plan has no YAML aliases')], findingAt };
  }
  const result = planSchema.safeParse(value, { reportInput: true });
  if (result.success) return { plan: result.data, findings: [], findingAt };
  const findings = result.error.issues.flatMap((issue) => complaints(issue, value, findingAt));
  return { plan: undefined, findings, findingAt };
}

function complaints(issue: z.core.$ZodIssue, value: unknown, findingAt: ParsedPlan['findingAt']): Finding[] {
  const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) =>
      findingAt([...path, key], `there is no such field. ${near(key, fieldsAt(path, value))}`.trimEnd()),
    );
  }
  const typed = at(value, path);
  if (issue.code === 'invalid_union' && path.at(-1) === 'type' && typeof typed === 'string') {
    return [findingAt(path, `there is no step type "${typed}". ${near(typed, STEP_TYPES)}`.trimEnd())];
  }
  const missing = issue.code !== 'custom' && typed === undefined;
  return [findingAt(path, missing ? 'this field is missing' : issue.message)];
}

function near(typed: string, known: readonly string[]): string {
  return didYouMean(nearNames(typed, known));
}

/** What may stand where an unknown field stood. */
function fieldsAt(path: FieldPath, value: unknown): string[] {
  if (path.length === 0) return Object.keys(planSchema.shape);
  if (path.length === 2 && path[0] === 'steps') {
    const type = at(value, [...path, 'type']);
    const schema = stepSchema.options.find((option) => option.shape.type.value === type);
    return Object.keys(schema?.shape ?? {});
  }
  return [];
}

function at(value: unknown, path: FieldPath): unknown {
  return path.reduce<unknown>(
    (held, key) => (typeof held === 'object' && held !== null ? Reflect.get(held, key) : undefined),
    value,
  );
}

function fieldName(path: FieldPath): string {
  return path.map((key, index) => (typeof key === 'number' ? `[${key}]` : index === 0 ? key : `.${key}`)).join('');
}

function positionOf(document: Document, lines: LineCounter, path: FieldPath): { line: number; column: number } {
  for (let depth = path.length; depth > 0; depth--) {
    const node: unknown = document.getIn(path.slice(0, depth), true);
    const range: unknown = typeof node === 'object' && node !== null ? Reflect.get(node, 'range') : undefined;
    if (Array.isArray(range) && typeof range[0] === 'number') {
      const { line, col } = lines.linePos(range[0]);
      return { line, column: col };
    }
  }
  return { line: 1, column: 1 };
}
