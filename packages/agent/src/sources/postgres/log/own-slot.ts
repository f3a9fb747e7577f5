// The slot of a source: what it is called, and how it is taken back when no source holds it any more.

import type { Clock } from '@holdfast/shared/runtime/clock';
import type { EngineSpec, Settings } from '../../../jobs/job.ts';
import { noteHeld, type Held } from '../../held-elsewhere.ts';
import { serverOf } from '../connection.ts';
import { endBases } from '../../bases/base-registry.ts';
import { dropSlot, type ServerAccess } from './slot-watch.ts';

/** At most 63 of a–z, 0–9 and _. */
export function slotNameOf(sourceId: string): string {
  return `holdfast_${sourceId
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '')
    .slice(0, 16)}`;
}

/** "slot NAME at HOST:PORT" */
export function slotKeyOf(sourceId: string, settings: Settings): string {
  return `slot ${slotNameOf(sourceId)} at ${serverOf(settings)}`;
}

/** Durable when it returns. Throws the system's errors. */
export function noteSlot(stateDir: string, { sourceId, engine }: EngineSpec): void {
  const { settings } = engine;
  noteHeld(stateDir, engine.type, { key: slotKeyOf(sourceId, settings), sourceId, settings });
}

/** The slot, and a base that is still being taken there. Throws what a connection throws. */
export async function takeBackSlot({ sourceId, settings }: Held, access: ServerAccess, clock: Clock): Promise<void> {
  const server = serverOf(settings);
  endBases(sourceId, (other) => other === server);
  await dropSlot(access, slotNameOf(sourceId), clock);
}
