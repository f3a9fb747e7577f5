// The durations of failover, in one place, and the inequality that they must keep.
//
// Hazard: a constant changed alone can let two hosts serve at once. timing.test.ts holds the chain that
// docs/decisions/why-two-primaries-cannot-serve.md explains.

export interface FailoverTiming {
  /** A holder asks for a new grant this often; the driving controller reads the catalog, and beats in it, as often. */
  readonly renewMs: number;
  /** A grant runs this long: on the holder's clock from before it asked, on the granter's from after it granted. */
  readonly leaseMs: number;
  /** What a granter waits beyond the lease. */
  readonly marginMs: number;
  /** Silence of the primary after which witnesses are asked; also how old a sign of life may be to count as seen. */
  readonly suspectAfterMs: number;
  /** How long a round of questions to the witnesses lasts. */
  readonly witnessMs: number;
  /** How long the other granter may be out of reach before this one disarms. */
  readonly outOfReachMs: number;
  /** How long the boot gate waits for an answer, in the modes without leases. */
  readonly bootAskMs: number;
  /** How long after its last beat a dead driver is replaced at the latest, while another one is there. */
  readonly controllerLeaseMs: number;
  /** A command that is not answered is sent again after this. */
  readonly resendMs: number;
}

export const FAILOVER_TIMING: FailoverTiming = {
  renewMs: 2000,
  leaseMs: 8000,
  marginMs: 2000,
  suspectAfterMs: 6000,
  witnessMs: 2000,
  outOfReachMs: 60_000,
  bootAskMs: 60_000,
  controllerLeaseMs: 8000,
  resendMs: 500,
};

/** How often a controller reads the catalog. One that waits to take over looks twice as often as the driver beats. */
export function readEveryMs(drives: boolean, { renewMs }: FailoverTiming): number {
  return drives ? renewMs : renewMs / 2;
}

/** How far the rate of a monotonic clock may be off: twenty times what NTP may slew (500 ppm). */
export const DRIFT_BOUND = 0.01;

/** How late the kernel may be in dropping an element whose timeout ran out (measured far below; addresses are reaped in whole seconds). */
export const KERNEL_LATENESS_MS = 1000;

/**
 * What is left between the last moment at which a holder may serve and the first at which its granter may let another one
 * serve, with the worst clocks on both sides. Must be positive.
 */
export function safetySlackMs(timing: FailoverTiming): number {
  const holderServesAtMostMs = timing.leaseMs / (1 - DRIFT_BOUND) + KERNEL_LATENESS_MS;
  const granterWaitsAtLeastMs = (timing.leaseMs + timing.marginMs) / (1 + DRIFT_BOUND);
  return granterWaitsAtLeastMs - holderServesAtMostMs;
}

/** From the last sign of life to the promotion, with the standby and one controller well (without drift and the way of messages). */
export function promotionBoundMs(timing: FailoverTiming): number {
  return Math.max(timing.suspectAfterMs + timing.witnessMs, timing.renewMs + timing.leaseMs + timing.marginMs);
}
