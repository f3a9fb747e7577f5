// When is a drill due, and is it overdue? A real failover counts as one. Pure. Tested in objectives.test.ts.

import { hasShownItself, type PlanLook } from './plan-look.ts';

export interface DrillState {
  readonly lastAt: Date | undefined;
  /** Undefined: the plan has no schedule. */
  readonly dueAt: Date | undefined;
  /** 0: not overdue. */
  readonly overdueMs: number;
}

/** A plan that was never drilled is due one interval after it was applied first. */
export function drillState({
  now,
  plan,
  runs,
  appliedAt,
}: Pick<PlanLook, 'now' | 'plan' | 'runs' | 'appliedAt'>): DrillState {
  const lastAt = runs.find(hasShownItself)?.finishedAt;
  const { drillEvery } = plan.objectives;
  if (drillEvery === undefined) return { lastAt, dueAt: undefined, overdueMs: 0 };
  const dueAt = new Date((lastAt ?? appliedAt).getTime() + drillEvery);
  return { lastAt, dueAt, overdueMs: Math.max(0, now.getTime() - dueAt.getTime()) };
}
