// What an engine's restore needs besides its snapshot: which base, how much of the log, a grant for both.
//
// Hazard: a grant that reaches more than the restore. A log grant names the streams that the way goes through and where it ends on
// each; what lies behind the target's log, or on an abandoned timeline, stays out of reach.
//
// Tested in operator-databases.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import type { EngineRestore } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { RecoveryTarget as WireTarget } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { SourceSpec, type EngineSource, type Setting } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { pointToWire, targetFromWire, targetToWire } from '@holdfast/shared/rpc/log-wire';

import type { Catalog } from '../catalog/catalog.ts';
import { chooseSnapshot, snapshotsById, type Snapshot } from '../browse/snapshots.ts';
import { isGtid } from '../fleet/gtid.ts';
import { loadStoredLog } from '../fleet/log-summary.ts';
import { choosePoint, type ChosenPoint } from '../fleet/recovery-point.ts';
import type { Source } from '../fleet/sources.ts';
import type { Caller, LogBound, Vault } from '../vault/contract.ts';
import { loadBases } from '../vault/log-bases.ts';
import { logStatusOf } from './source-facts.ts';
import { checkSettings } from './source-spec.ts';

export interface EngineRequest {
  /** Whole or a prefix; empty: chosen by the target. */
  readonly snapshotId: Uint8Array;
  /** 0: not used. */
  readonly atMs: bigint;
  readonly point: WireTarget | undefined;
  readonly start: boolean;
  readonly port: number;
  readonly options: readonly Setting[];
  /** The log is read on and on, not up to what is stored now. */
  readonly follow?: boolean;
}

export interface EngineRestoreDeps {
  readonly catalog: Catalog;
  readonly vault: Pick<Vault, 'grantLog'>;
}

export interface PlannedEngineRestore {
  readonly snapshot: Snapshot;
  readonly engine: DeepPartial<EngineRestore>;
}

/** Undefined for a file tree. */
export function engineOf(source: Source): EngineSource | undefined {
  const { type } = SourceSpec.decode(source.spec);
  return type?.$case === 'engine' ? type.value : undefined;
}

/** Throws INVALID_ARGUMENT, and what choosePoint refuses. */
export async function planEngineRestore(
  deps: EngineRestoreDeps,
  source: Source,
  engine: EngineSource,
  request: EngineRequest,
  to: Caller,
  ttlMs: number,
): Promise<PlannedEngineRestore> {
  checkSettings(request.options);
  const { pool } = deps.catalog;
  const target = targetOf(request);
  const common = { source: engine, start: request.start, port: request.port, options: [...request.options] };
  const bases = await loadBases(pool, source.id);
  if (bases.length === 0) {
    const snapshot = await choosePlain(deps, source, request, target);
    return { snapshot, engine: { ...common, target: targetToWire({ kind: 'base' }) } };
  }

  const log = await loadStoredLog(pool, source.id, logStatusOf(source), target);
  const asked = request.snapshotId.length > 0;
  const wanted = asked
    ? await chooseSnapshot(pool, { domainId: source.domainId, sourceId: source.id, id: request.snapshotId, atMs: 0 })
    : undefined;
  const candidates = wanted === undefined ? bases : bases.filter(({ snapshotId }) => snapshotId.equals(wanted.id));
  const choice = choosePoint(candidates, log, target, asked);
  if (choice.kind === 'refused') throw new HoldfastError(choice.code, choice.message, { hint: choice.hint });

  const [snapshot] = await snapshotsById(pool, source.domainId, [choice.base.snapshotId]);
  if (snapshot === undefined) throw new HoldfastError('NOT_FOUND', 'the base was deleted meanwhile');
  return {
    snapshot,
    engine: {
      ...common,
      base: pointToWire(choice.base.point),
      target: targetToWire(target),
      toEndOfLog: choice.toEndOfLog,
      ...logFields(deps, source, choice, to, ttlMs, request.follow === true),
    },
  };
}

function targetOf({ point, snapshotId, atMs }: EngineRequest): RecoveryTarget {
  if (point?.kind !== undefined) {
    const target = targetFromWire(point);
    if (target.kind === 'gtid' && !isGtid(target.gtid)) {
      throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(target.gtid)} is no GTID`, {
        hint: 'MariaDB writes them as 0-1-100; several are separated by commas.',
      });
    }
    return target;
  }
  if (snapshotId.length > 0) return { kind: 'base' };
  return atMs > 0n ? { kind: 'time', atMs: Number(atMs) } : { kind: 'latest' };
}

/** An engine whose snapshots stand in no log: chosen as a file tree's are, by the time of the commit. */
function choosePlain(
  { catalog }: EngineRestoreDeps,
  source: Source,
  request: EngineRequest,
  target: RecoveryTarget,
): Promise<Snapshot> {
  if (target.kind === 'position' || target.kind === 'name' || target.kind === 'gtid') {
    throw new HoldfastError('INVALID_ARGUMENT', 'this source keeps no log: only its snapshots can be reached', {
      hint: 'Choose one with --snapshot, or the last one before a time with --at.',
    });
  }
  return chooseSnapshot(catalog.pool, {
    domainId: source.domainId,
    sourceId: source.id,
    id: request.snapshotId,
    atMs: target.kind === 'time' ? target.atMs : 0,
  });
}

/** Orders are below 2^64; a numeric column compares them. */
const LAST_POSITION = 2n ** 64n - 1n;

function logFields(
  { vault }: EngineRestoreDeps,
  source: Source,
  { log }: ChosenPoint,
  to: Caller,
  ttlMs: number,
  follow: boolean,
): DeepPartial<EngineRestore> {
  if (log === undefined) return {};
  // From the start of each run: a server reads its log in files, and of the first one also what stands before the base.
  const bounds = log.way.map((leg, index): LogBound => {
    const isOpen = follow && index === log.way.length - 1;
    return { stream: leg.stream, from: leg.run.start.order, to: isOpen ? LAST_POSITION : leg.to.order };
  });
  return {
    stream: { ...log.stream },
    logEnd: { ...log.end },
    logGrant: vault.grantLog(to, source.id, bounds, ttlMs),
  };
}
