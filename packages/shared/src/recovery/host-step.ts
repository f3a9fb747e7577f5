// A step as a host gets it: the plan's words with variables put in, and beside them what the controller looked up for it.
//
// Hazard: it comes from another machine and says what root is to run. So it is parsed as strictly as a plan is, and everything in it is bounded.
//
// Pure. Tested in host-step.test.ts.

import { z } from 'zod';
import { HoldfastError } from '../base/errors.ts';
import { SECTIONS } from '../blueprint/blueprint.ts';
import { durationText, name, serviceCommands, stepSchema, text, type ServiceCommands } from './step-types.ts';

/** What a plan's `render` asks for once files are restored. It is no step that a plan writes. */
const renderSchema = z.strictObject({
  id: name,
  type: z.literal('render'),
  files: z
    .array(
      z.strictObject({
        file: text.startsWith('/', 'an absolute path was expected'),
        replace: z.record(z.string().min(1), z.string()),
      }),
    )
    .min(1)
    .max(64),
});
export type RenderStep = z.output<typeof renderSchema>;

const hostStepSchema = z.discriminatedUnion('type', [...stepSchema.options, renderSchema]);
export type HostStepSpec = z.output<typeof hostStepSchema>;

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const fact = z.union([scalar, z.array(z.string()), z.record(z.string(), z.union([scalar, z.array(z.string())]))]);

const resolvedSchema = z.strictObject({
  /** check.sql: the source that it asks, as the host that is asked reaches it. */
  source: z.strictObject({ type: z.string().max(32), settings: z.record(z.string(), z.string()) }).optional(),
  /** restore.*, of which a host's step is the look at where it goes. */
  restore: z
    .strictObject({
      /** The plan's id, also of a document that is not applied yet. */
      application: z.string().max(64),
      sourceId: text,
      /** Absolute. */
      places: z.array(text).max(1024),
      /** What the newest snapshot holds. */
      bytes: z.number().nonnegative(),
      /** It is kept there as a warm copy. */
      warm: z.boolean(),
      /** What is there may be taken over: the host served before. */
      takeOver: z.boolean(),
    })
    .optional(),
  /** fence: the program that makes sure that the old primary is off. */
  script: text.startsWith('/', 'an absolute path was expected').optional(),
  /** fence: the name of the host that is fenced. */
  primary: text.optional(),
  /** traffic: its addresses come and go with the lease (detect.mode: automatic); the step announces them and adds none for good. */
  leased: z.boolean().optional(),
  /** traffic: what the host's ${bind} stands for, for a name that the step gives no value. */
  bind: text.optional(),
  /** rebuild: units that the agent alone starts; they are not enabled. */
  protectedUnits: z.array(text).max(256).optional(),
  /** rebuild: the primary's blueprint, by section, each as fact → value. Only the sections that the step names need be there. */
  blueprint: z.partialRecord(z.enum(SECTIONS), z.record(z.string(), fact)).optional(),
});
/** What the controller looked up for a step. */
export type ResolvedData = z.output<typeof resolvedSchema>;

const SPEC_MAX_BYTES = 256 * 1024;
/** Half of what a message may hold. */
export const RESOLVED_MAX_BYTES = 2 * 1024 * 1024;
const SERVICES_MAX = 256;

/** Durations, in a step's own fields: a parsed plan has them as milliseconds, a document as text. */
const DURATIONS = ['timeout', 'for', 'maxAge'];

/** The bytes of StepJob.spec. */
export function encodeHostStep(step: HostStepSpec): Buffer {
  return Buffer.from(JSON.stringify(step));
}

/** Throws INVALID_ARGUMENT. */
export function decodeHostStep(bytes: Uint8Array): HostStepSpec {
  const value = jsonOf(bytes, SPEC_MAX_BYTES, 'a step');
  if (typeof value === 'object' && value !== null) {
    for (const field of DURATIONS) {
      const held: unknown = Reflect.get(value, field);
      if (typeof held === 'number') Reflect.set(value, field, durationText(held));
    }
  }
  return checked(hostStepSchema, value, 'a step');
}

/** The bytes of StepJob.resolved. Throws LIMIT_EXCEEDED. */
export function encodeResolved(resolved: ResolvedData): Buffer {
  const bytes = Buffer.from(JSON.stringify(resolved));
  if (bytes.length > RESOLVED_MAX_BYTES) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `what a step stands on has ${bytes.length} bytes, too many for one message`,
    );
  }
  return bytes;
}

/** Nothing for no bytes. Throws INVALID_ARGUMENT. */
export function decodeResolved(bytes: Uint8Array): ResolvedData {
  if (bytes.length === 0) return {};
  return checked(resolvedSchema, jsonOf(bytes, RESOLVED_MAX_BYTES, 'what a step stands on'), 'what a step stands on');
}

/** Services that a plan declares itself, by name; nothing for no bytes. Throws INVALID_ARGUMENT. */
export function decodeServices(bytes: Uint8Array): Readonly<Record<string, ServiceCommands>> {
  if (bytes.length === 0) return {};
  const value = jsonOf(bytes, SPEC_MAX_BYTES, 'services');
  const services = checked(z.record(name, serviceCommands), value, 'services');
  if (Object.keys(services).length > SERVICES_MAX) throw refused('services', 'there are too many');
  return services;
}

function jsonOf(bytes: Uint8Array, most: number, what: string): unknown {
  if (bytes.length > most) throw refused(what, 'it is too long');
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    throw refused(what, 'it is no JSON');
  }
}

function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw refused(what, `${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'not understood'}`);
}

function refused(what: string, why: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `${what} that this host does not understand: ${why}`, {
    hint: 'A newer agent may understand it.',
  });
}
