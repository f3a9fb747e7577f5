// The controller's settings: what its file may say, and the defaults.
//
//   data: /var/lib/holdfast           catalog, packs, keys
//   listen: 0.0.0.0:7400              the one port for hosts and operators
//   advertise: backup.example.net:7400  what goes into enrolment tokens
//   names: [backup.example.net]       further names of the server's certificate
//   metrics: 127.0.0.1:7401           /metrics and /healthz; port 0: any free one
//   vault: /srv/holdfast              the packs, when they are to stand elsewhere
//   log: { level: info, file: /var/log/holdfast/controller.log }

import { z } from 'zod';

const endpoint = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/, 'must be HOST:PORT')
  .refine((text) => Number(text.slice(text.lastIndexOf(':') + 1)) < 65_536, 'the port must be below 65536');
const directory = z.string().regex(/^\//, 'must be an absolute path');

export const settingsSchema = z.strictObject({
  data: directory.default('/var/lib/holdfast'),
  listen: endpoint.default('0.0.0.0:7400'),
  advertise: endpoint.optional(),
  names: z.array(z.string().min(1).max(253)).max(50).default([]),
  metrics: endpoint.default('127.0.0.1:0'),
  vault: directory.optional(),
  log: z
    .strictObject({
      level: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
      file: directory.optional(),
    })
    .prefault({}),
});

export type Settings = z.output<typeof settingsSchema>;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** HOST:PORT, taken apart; an IPv6 address without its brackets. */
export function parseEndpoint(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}
