// May a protected unit start after a boot, in the modes without leases? (In automatic mode: only on a fresh grant, primary-lease.ts.)
//
// Hazard: the host was declared dead and replaced while it was down, and its init system starts the old service beside the new one.
//
// Invariants (decisions.test.ts): G1 never with a higher epoch known; G2 never without an answer before the time to ask is over and the
// service address was found free; G3 with nobody left in the world it does start.

import type { FailoverTiming } from './timing.ts';

export interface BootKnowledge {
  readonly servingEpoch: number;
  readonly highestEpoch: number;
  /** Highest epochs that the controller and the standby answered with. */
  readonly answers: readonly number[];
  readonly askedForMs: number;
  /** Whether somebody answers ARP for the service address; undefined: not probed yet. */
  readonly addressTaken: boolean | undefined;
}

export type BootDecision = 'start' | 'ask' | 'probe-address' | 'stay-down';

export function decideBoot(knowledge: BootKnowledge, timing: FailoverTiming): BootDecision {
  const highest = Math.max(knowledge.highestEpoch, ...knowledge.answers);
  if (highest > knowledge.servingEpoch) return 'stay-down';
  if (knowledge.answers.length > 0) return 'start';
  if (knowledge.askedForMs < timing.bootAskMs) return 'ask';
  if (knowledge.addressTaken === undefined) return 'probe-address';
  return knowledge.addressTaken ? 'stay-down' : 'start';
}
