// What engines are asked and what they answer, from the wire and to it.
//
// Hazard: what comes from the controller is checked before anything is done with it (threat 40); what a setting means is the
// engine's to say.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  EngineRestore as WireRestore,
  JobOutcome as WireOutcome,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { EngineSource as WireEngine, Setting as WireSetting } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { pointFromWire, positionFromWire, streamFromWire, targetFromWire } from '@holdfast/shared/rpc/log-wire';
import type { EngineRestore, EngineSource, JobOutcome, ReachedPoint, Settings } from '../jobs/job.ts';

const SETTINGS_MAX = 256;
/** Findings, and proposals, of one look. */
const LOOKS_KEPT = 200;

/** Throws INVALID_ARGUMENT. What the settings mean is the engine's to say. */
export function engineSourceFromWire(wire: WireEngine): EngineSource {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(wire.type)) throw refused('a type of source that is none');
  return { type: wire.type, settings: settingsFromWire(wire.settings) };
}

function settingsFromWire(list: readonly WireSetting[]): Settings {
  if (list.length > SETTINGS_MAX) throw refused('too many settings');
  return Object.fromEntries(list.map(({ name, value }) => [name, value]));
}

function settingsToWire(settings: Settings): WireSetting[] {
  return Object.entries(settings)
    .map(([name, value]) => ({ name, value }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Throws INVALID_ARGUMENT, PROTOCOL_VIOLATION. */
export function engineRestoreFromWire(wire: WireRestore): EngineRestore {
  if (wire.source === undefined) throw refused('a restore of a database without its source');
  const hasLog = wire.stream !== undefined && wire.logEnd !== undefined && wire.logGrant.length > 0;
  return {
    source: engineSourceFromWire(wire.source),
    base: wire.base === undefined ? undefined : pointFromWire(wire.base),
    target: targetFromWire(wire.target),
    log: hasLog
      ? { stream: streamFromWire(wire.stream), end: positionFromWire(wire.logEnd), grant: wire.logGrant }
      : undefined,
    toEndOfLog: wire.toEndOfLog,
    start: wire.start,
    port: wire.port,
    options: settingsFromWire(wire.options),
  };
}

/** Findings, proposals and the point that was reached. */
export function engineOutcomeToWire(outcome: JobOutcome): Pick<WireOutcome, 'findings' | 'discovered' | 'reached'> {
  return {
    findings: (outcome.findings ?? []).slice(0, LOOKS_KEPT).map((finding) => ({ ...finding })),
    discovered: (outcome.discovered ?? [])
      .slice(0, LOOKS_KEPT)
      .map((found) => ({ ...found, settings: settingsToWire(found.settings) })),
    reached: outcome.reached === undefined ? undefined : reachedToWire(outcome.reached),
  };
}

function reachedToWire(reached: ReachedPoint): NonNullable<WireOutcome['reached']> {
  return {
    stream: { ...reached.stream },
    position: { ...reached.position },
    lastCommitAtMs: count(reached.lastCommitAtMs),
    running: reached.running,
    connect: reached.connect,
    replayMs: count(reached.replayMs),
    facts: settingsToWire(reached.facts),
  };
}

function count(value: number): bigint {
  return BigInt(Math.max(0, Math.round(value)));
}

function refused(what: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `the controller asked for ${what}`);
}
