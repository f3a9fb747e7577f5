// The order in which runs that are due together begin: what others depend on first, then the lower priority, then the name.
//
// Who really waits for whom is decided by the controller, run by run (a failed dependency, a person who is late); runs that are started in this
// order are the ones that it would begin first.
//
// Invariants (turn-order.property.test.ts): TO1 every plan once; TO2 none before one that it depends on, unless that one depends on it, too.
//
// Pure.

import { waitsFor } from '@holdfast/shared/recovery/depends-on';

export interface OrderedPlan {
  readonly name: string;
  /** The lower, the sooner. */
  readonly priority: number;
  /** Names; those that are not among the plans are no matter. */
  readonly dependsOn: readonly string[];
}

export function turnOrder<P extends OrderedPlan>(plans: readonly P[]): P[] {
  const open = new Map(plans.toSorted(byPriority).map((plan) => [plan.name, plan]));
  const ordered: P[] = [];
  while (open.size > 0) {
    // Of plans in a circle none waits for the other, so there is always one.
    const next = [...open.values()].find((plan) => waitsFor(plan, open).length === 0);
    if (next === undefined) return [...ordered, ...open.values()];
    ordered.push(next);
    open.delete(next.name);
  }
  return ordered;
}

function byPriority(a: OrderedPlan, b: OrderedPlan): number {
  return a.priority - b.priority || (a.name < b.name ? -1 : 1);
}
