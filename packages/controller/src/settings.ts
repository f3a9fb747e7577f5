// The controller's settings: what its file may say, and the defaults.
//
//   data: /var/lib/holdfast           catalog, packs, keys
//   listen: 0.0.0.0:7400              the one port for hosts and operators
//   advertise: backup.example.net:7400  what goes into enrolment tokens
//   names: [backup.example.net]       further names of the server's certificate
//   metrics: 127.0.0.1:7401           /metrics and /healthz; port 0: any free one
//   vault: /srv/holdfast              the packs, when they are to stand elsewhere
//   reserve: 20GiB                    kept free on their disk: below it uploads are refused (default: 1 GiB, or a fiftieth of the disk if that is less)
//   quota: 2TiB                       what a domain may store, and
//   quotas: { customer-a: 500GiB }    what this one may
//   log: { level: info, file: /var/log/holdfast/controller.log }
//   recovery: { runs_at_once: 8 }     runs of recovery plans of one domain that work at the same time (default: 4)
//   notify: { smtp: …, contacts: … }  who is told of recovery, and how: recovery/notify/notify-settings.ts

import { z } from 'zod';

import { notifySchema } from './recovery/notify/notify-settings.ts';
import { AT_ONCE } from './recovery/runs/turn.ts';

const endpoint = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/, 'must be HOST:PORT')
  .refine((text) => Number(text.slice(text.lastIndexOf(':') + 1)) < 65_536, 'the port must be below 65536');
const directory = z.string().regex(/^\//, 'must be an absolute path');

const FACTORS = { '': 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;
const SIZE = /^(\d{1,15}(?:\.\d{1,3})?) ?(|KiB|MiB|GiB|TiB)$/;
const size = z
  .union([z.number().int().min(0), z.string().regex(SIZE, 'must be a size, as 500GiB')])
  .transform((given) => {
    if (typeof given === 'number') return given;
    const [, digits, unit] = SIZE.exec(given) ?? [];
    return Math.round(Number(digits) * FACTORS[unit as keyof typeof FACTORS]);
  })
  .refine(Number.isSafeInteger, 'must be below 8 PiB');

export const settingsSchema = z.strictObject({
  data: directory.default('/var/lib/holdfast'),
  listen: endpoint.default('0.0.0.0:7400'),
  advertise: endpoint.optional(),
  names: z.array(z.string().min(1).max(253)).max(50).default([]),
  metrics: endpoint.default('127.0.0.1:0'),
  vault: directory.optional(),
  reserve: size.optional(),
  quota: size.optional(),
  quotas: z.record(z.string(), size).default({}),
  log: z
    .strictObject({
      level: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
      file: directory.optional(),
    })
    .prefault({}),
  recovery: z.strictObject({ runs_at_once: z.int().min(1).max(AT_ONCE.max).default(AT_ONCE.default) }).prefault({}),
  notify: notifySchema.prefault({}),
});

export type Settings = z.output<typeof settingsSchema>;

/** What a domain may store in bytes; 0: no bound. */
export function quotaOf(settings: Pick<Settings, 'quota' | 'quotas'>, domainName: string): number {
  const own = Object.hasOwn(settings.quotas, domainName) ? settings.quotas[domainName] : undefined;
  return own ?? settings.quota ?? 0;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** HOST:PORT, taken apart; an IPv6 address without its brackets. */
export function parseEndpoint(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}
