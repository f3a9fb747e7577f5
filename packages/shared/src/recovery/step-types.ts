// The steps of a recovery plan: one strict schema for each type, so that a misspelt setting is refused and never ignored.
//
// Pure. What steps mean together is checked in check-plan.ts. Tested in plan.test.ts.

import { z } from 'zod';
import { readServiceAddress } from './service-address.ts';

export const MODES = ['drill', 'planned', 'unplanned'] as const;
export type Mode = (typeof MODES)[number];

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** "15m", "30d": whole numbers with a unit; milliseconds in the plan. */
export const duration = z
  .string('a duration such as 15m was expected')
  .regex(/^[1-9]\d{0,5}(ms|s|m|h|d)$/, 'a duration such as 500ms, 30s, 15m, 4h or 30d was expected')
  .transform((text) => {
    const unit = text.replace(/\d+/, '') as keyof typeof UNIT_MS;
    return Number.parseInt(text, 10) * UNIT_MS[unit];
  });

/** The text of a duration: in the largest unit that it is a whole number of. */
export function durationText(ms: number): string {
  const units = Object.entries(UNIT_MS).toReversed();
  const [unit, size] = units.find(([, unitMs]) => ms % unitMs === 0) ?? ['ms', 1];
  return `${ms / size}${unit}`;
}

export const name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/, 'a name of small letters, digits, ".", "_" and "-" was expected');
/** What starts and stops a service where there is no systemd, and tells whether it runs (exit code 0). */
export const serviceCommands = z.strictObject({
  start: z.array(z.string().min(1).max(4096)).min(1).max(64),
  stop: z.array(z.string().min(1).max(4096)).min(1).max(64),
  status: z.array(z.string().min(1).max(4096)).min(1).max(64),
});
export type ServiceCommands = z.output<typeof serviceCommands>;
export const text = z.string().min(1, 'a text was expected').max(4096);
const argv = z.array(text).min(1, 'a program and its arguments were expected').max(64);
const names = z.array(text).min(1, 'at least one was expected').max(64);
const host = text.default('standby');

const every = {
  id: name,
  in: z
    .array(z.enum(MODES))
    .min(1, 'at least one mode was expected')
    .default([...MODES]),
  needs: z.array(name).max(500).default([]),
  ahead: z.boolean().default(false),
  critical: z.boolean().default(true),
  timeout: duration.optional(),
};
const onHost = { ...every, host };
const check = { ...onHost, for: duration.optional() };
const restore = {
  ...onHost,
  source: name,
  to: text.default('${recoveryPoint}'),
  /** Absolute, on the host that restores; without it: where the source is on the primary. */
  target: text.regex(/^(\/|\$\{)/, 'an absolute path was expected').optional(),
  /** The service that is stopped before and started after; without it an engine starts what it restored itself. */
  unit: text.optional(),
  port: z.int().min(1).max(65_535).optional(),
  options: z.record(z.string(), text).default({}),
};
const serviceAddress = text.superRefine((given, context) => {
  const read = readServiceAddress(given);
  if (typeof read === 'string') context.addIssue({ code: 'custom', message: read });
});
const via = z.union(
  [
    z.strictObject({ address: z.strictObject({ ip: serviceAddress, dev: text }) }),
    z.strictObject({
      dns: z.strictObject({
        name: text,
        ttl: z.int().min(1).max(86_400).default(30),
        /** What the name stands for from now on; without it: the addresses of this step, or the host's ${bind}. */
        value: text.optional(),
        /** HOST or HOST:PORT of the zone's primary server; without it: the one that its SOA names. */
        server: text.optional(),
        zone: text.optional(),
        /** The secret that holds the TSIG key: "NAME ALGORITHM BASE64". */
        key: name.optional(),
      }),
    }),
    z.strictObject({ webhook: z.strictObject({ url: text, secret: name.optional() }) }),
  ],
  'one of address: {ip, dev}, dns: {name, ttl, …} or webhook: {url, secret} was expected',
);

const schemas = [
  z.strictObject({ ...every, type: z.literal('approval'), roles: names.optional() }),
  z.strictObject({ ...every, type: z.literal('manual'), text }),
  z.strictObject({ ...every, type: z.literal('wait'), for: duration }),
  z.strictObject({ ...onHost, host: text.default('primary'), type: z.literal('snapshot'), sources: names }),
  z.strictObject({ ...onHost, host: text.default('primary'), type: z.literal('fence') }),
  z.strictObject({
    ...onHost,
    type: z.literal('rebuild'),
    from: z.literal('primary').default('primary'),
    packages: z.boolean().default(false),
    users: z.boolean().default(false),
    units: z.boolean().default(false),
    cron: z.boolean().default(false),
    sysctl: z.boolean().default(false),
    firewall: z.boolean().default(false),
  }),
  z.strictObject({ ...restore, type: z.literal('restore.files') }),
  z.strictObject({ ...restore, type: z.literal('restore.postgres') }),
  z.strictObject({ ...restore, type: z.literal('restore.mariadb') }),
  z.strictObject({ ...restore, type: z.literal('restore.redis') }),
  z.strictObject({ ...restore, type: z.literal('restore.sqlite') }),
  z.strictObject({ ...restore, type: z.literal('restore.image') }),
  z.strictObject({ ...restore, type: z.literal('restore.command') }),
  z.strictObject({ ...onHost, type: z.literal('service.start'), units: names }),
  z.strictObject({ ...onHost, type: z.literal('service.stop'), units: names }),
  z.strictObject({ ...onHost, type: z.literal('command'), run: argv, probe: argv.optional(), undo: argv.optional() }),
  z.strictObject({
    ...check,
    type: z.literal('check.http'),
    from: text.optional(),
    url: text,
    contains: text.optional(),
  }),
  z.strictObject({ ...check, type: z.literal('check.tcp'), address: text }),
  z.strictObject({ ...check, type: z.literal('check.sql'), source: name, query: text, maxAge: duration.optional() }),
  z.strictObject({ ...check, type: z.literal('check.command'), run: argv }),
  z.strictObject({
    ...onHost,
    type: z.literal('traffic'),
    via: z.array(via).min(1, 'at least one way was expected').max(16),
  }),
  z.strictObject({ ...every, type: z.literal('notify'), to: names, template: text }),
] as const;

export const STEP_TYPES = schemas.map((schema) => schema.shape.type.value);
export const stepSchema = z.discriminatedUnion('type', schemas);
export type Step = z.output<typeof stepSchema>;
