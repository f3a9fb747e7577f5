// Is the primary dead? A verdict from silence, witnesses, and what the controller itself can reach.
//
// Hazard: whoever is cut off sees everybody else die. So silence alone proves nothing: witnesses must agree, none may
// have seen the primary, and a controller that reaches neither the standby nor a witness elsewhere is itself the one cut off.
//
// Invariant (decisions.test.ts, and simulation/simulation.test.ts by removing each condition): D1 more knowledge in the primary's favour
// never turns another verdict into `dead`.
//
// Pure. Who asks whom, and when, is controller-driver.ts.

import type { FailoverTiming } from './timing.ts';

export interface WitnessWord {
  /** The request that must be answered was; a connection that is merely accepted is no answer. */
  readonly answered: boolean;
  readonly sawJustNow: boolean;
  /** Not in the primary's site. */
  readonly outside: boolean;
}

export interface Signs {
  /** How long ago the primary's last heartbeat came (a grant that another replica committed is one). */
  readonly primarySilentMs: number;
  /** How long ago the standby was heard. */
  readonly standbySilentMs: number;
  /** What witnesses said in the present round; those that said nothing are absent. */
  readonly words: readonly WitnessWord[];
  /** How many must agree. */
  readonly agree: number;
  /** The present round of questions has lasted its time, or everybody answered. */
  readonly roundOver: boolean;
}

export type Verdict =
  | 'alive'
  /** Silent, and the witnesses are still being asked. */
  | 'suspected'
  /** The controller itself may be the one that is cut off. */
  | 'isolated'
  | 'dead';

export function judge(signs: Signs, timing: FailoverTiming): Verdict {
  if (signs.primarySilentMs < timing.suspectAfterMs) return 'alive';
  if (signs.words.some((word) => word.sawJustNow)) return 'suspected';
  if (!signs.roundOver) return 'suspected';
  const reachesStandby = signs.standbySilentMs < timing.suspectAfterMs;
  if (!reachesStandby || !signs.words.some((word) => word.outside)) return 'isolated';
  const failed = signs.words.filter((word) => !word.answered).length;
  return failed >= signs.agree ? 'dead' : 'suspected';
}
