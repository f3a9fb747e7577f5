// What a plan's document means for failover: the settings of a replica, and what the application's hosts are told.
//
// Hazard: a host that is told that nothing expires, while the controller still counts on the expiry. So the modes without leases are told
// only once the row is disarmed, and it arms again only by a handshake with a primary that has a limited gate.
//
// Pure. Tested in application-settings.test.ts.

import type { ControllerSettings } from '@holdfast/shared/failover/controller-state';
import type { LeaseRow } from '@holdfast/shared/failover/lease-row';
import type { FailoverTiming } from '@holdfast/shared/failover/timing';
import { protectionOf } from '@holdfast/shared/recovery/protection';
import { servicesOn } from '@holdfast/shared/recovery/services-on';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';

import type { AppliedPlan } from '../contract.ts';

const HOLDOFF_MS = 3_600_000;

export function settingsOf(
  applied: AppliedPlan,
  replica: string,
  timing: FailoverTiming,
  automaticRefused: boolean,
): ControllerSettings {
  const { detect, fence } = applied.plan;
  const witnesses = (detect.witnesses?.hosts ?? []).flatMap((name) => applied.hostIds.get(name) ?? []);
  return {
    replica,
    timing: timingOf(applied, timing),
    witnesses,
    agree: detect.witnesses?.agree ?? 1,
    // Each host is a site of its own.
    sites: new Map([...applied.hostIds.values()].map((id) => [id, id])),
    holdoffMs: detect.holdoff ?? HOLDOFF_MS,
    powerOff: fence?.script !== undefined,
    leases: detect.mode === 'automatic' && !automaticRefused,
  };
}

/** Suspicion is never quicker than two renewals, one of which may be lost. */
export function timingOf({ plan }: AppliedPlan, timing: FailoverTiming): FailoverTiming {
  const suspectAfterMs = plan.detect.suspectAfter ?? timing.suspectAfterMs;
  return { ...timing, suspectAfterMs: Math.max(suspectAfterMs, 2 * timing.renewMs) };
}

/** @param hostId who is told  @param peerAddresses of the other host */
export function specFor(
  applied: AppliedPlan,
  hostId: string,
  timing: FailoverTiming,
  row: LeaseRow,
  identity: string,
  peerAddresses: readonly string[],
): ApplicationSpec {
  const { plan } = applied;
  const { renewMs, leaseMs, marginMs, suspectAfterMs, outOfReachMs, bootAskMs } = timingOf(applied, timing);
  const { mode } = plan.detect;
  return {
    id: applied.id,
    plan: applied.name,
    revision: applied.revision,
    mode: row.disarmed === 0 ? 'automatic' : mode,
    primaryHost: row.primary,
    standbyHost: row.standby,
    // What another catalog believed is no epoch of this one.
    epoch: row.identity === identity ? row.epoch : 0,
    catalog: identity,
    peerAddresses,
    ...protectionOf(plan),
    services: Buffer.from(JSON.stringify(servicesOn(plan, nameOf(applied, hostId)))),
    renewMs,
    leaseMs,
    marginMs,
    suspectAfterMs,
    outOfReachMs,
    bootAskMs,
    fenceScript: plan.fence?.script ?? '',
  };
}

/** What the witnesses ask: the present primary's variables put in. */
export function probeUrl(applied: AppliedPlan, primaryId: string): string {
  const { plan } = applied;
  const vars = plan.placement.vars[nameOf(applied, primaryId)] ?? {};
  const probe = plan.detect.witnesses?.probe ?? '';
  return probe.replaceAll(/\$\{(?:primary\.)?([^}]+)\}/g, (whole, name: string) => vars[name] ?? whole);
}

function nameOf({ plan, hostIds }: AppliedPlan, hostId: string): string {
  return plan.placement.hosts.find((name) => hostIds.get(name) === hostId) ?? '';
}
