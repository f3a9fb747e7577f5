// One way of moving traffic to this host: what each of a traffic step's `via` can do.

import type { StepContext } from './step-type.ts';

/** How it stands, and one sentence about it. */
export interface Finding {
  readonly well: boolean;
  readonly message: string;
  readonly remedy?: string;
}

/** Every method may be called again. Throws HoldfastError. */
export interface TrafficWay {
  /** Could it work now? */
  precheck(context: StepContext): Promise<Finding>;
  /** Does the traffic come here this way? */
  look(context: StepContext): Promise<Finding>;
  /** What it did. */
  apply(context: StepContext): Promise<string>;
  /** What it did; undoes only what `apply` did. */
  undo(context: StepContext): Promise<string>;
}
