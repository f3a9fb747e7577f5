// What plans add to restores, and the sandboxes of drills, from the wire.
//
// Hazard: names that become those of directories, addresses that become words of a program. What they may be is said here once for what comes
// in; sandboxes.ts looks again before it acts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  AgentMessage,
  RestoreJob as WireRestore,
  SandboxJob as WireSandbox,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { RestoreJob, SandboxJob, WarmOrder } from '../jobs/job.ts';
import type { WarmReport } from '../recovery/warm/warm-report.ts';

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const WARM_ACTIONS = ['keep', 'finish', 'release'] as const;

/** Throws INVALID_ARGUMENT. */
export function recoveryRestoreFromWire(wire: WireRestore): Pick<RestoreJob, 'sandbox' | 'warm' | 'keepsIdentity'> {
  if (wire.sandbox !== '' && !ID.test(wire.sandbox)) throw refused('a sandbox that is none');
  return {
    ...(wire.sandbox === '' ? {} : { sandbox: wire.sandbox }),
    ...(wire.warm === undefined ? {} : { warm: warmFromWire(wire.warm) }),
    ...(wire.keepIdentity || wire.warm !== undefined ? { keepsIdentity: true } : {}),
  };
}

/** Throws INVALID_ARGUMENT. */
export function sandboxFromWire(jobId: string, wire: WireSandbox): SandboxJob {
  const { name, application, action, ttlMs, addresses } = wire;
  if (action !== 'open' && action !== 'close') throw refused('something with a sandbox that this agent does not know');
  if (!ID.test(name)) throw refused('a sandbox that is none');
  return { kind: 'sandbox', jobId, action, order: { name, application, ttlMs: Number(ttlMs), addresses } };
}

export function warmReportMessage({ completeToMs, stream, replayed, ...rest }: WarmReport): AgentMessage {
  const value = {
    ...rest,
    stream: stream === undefined ? undefined : { ...stream },
    replayed: replayed === undefined ? undefined : { ...replayed },
    completeToMs: BigInt(Math.round(completeToMs)),
  };
  return { kind: { $case: 'warm', value } };
}

function warmFromWire({
  application,
  sourceId,
  action,
  takeOver,
  snapshotId,
}: NonNullable<WireRestore['warm']>): WarmOrder {
  const known = WARM_ACTIONS.find((one) => one === action);
  if (known === undefined) throw refused('something with a warm copy that this agent does not know; update the agent');
  if (!ID.test(application) || !ID.test(sourceId)) throw refused('a warm copy of nothing');
  return { application, sourceId, action: known, takeOver, snapshotId: snapshotId.toString('hex') };
}

function refused(what: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `the controller asked for ${what}`);
}
