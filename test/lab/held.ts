// What a host has of the shop: by the host itself, whatever anybody says about it.

import type { Host } from './host.ts';
import { SERVICE_ADDRESS } from './machines.ts';
import { PROTECTED_UNITS } from './units.ts';

export interface Held {
  /** Those of the protected units that run, in the order in which they are started. */
  readonly units: readonly string[];
  /** Of the service address: while a lease lasts, or without an end. */
  readonly address: 'none' | 'leased' | 'for good';
}

export const NOTHING_HELD: Held = { units: [], address: 'none' };

export async function heldBy(host: Host): Promise<Held> {
  const units: string[] = [];
  for (const unit of PROTECTED_UNITS) if (await host.unit(unit, 'status')) units.push(unit);
  const shown = await host.ok('ip', '-o', 'address', 'show', 'dev', 'eth0', 'to', SERVICE_ADDRESS);
  if (shown.trim() === '') return { units, address: 'none' };
  return { units, address: shown.includes('valid_lft forever') ? 'for good' : 'leased' };
}
