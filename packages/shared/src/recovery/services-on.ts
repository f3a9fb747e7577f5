// The services that a plan declares, as one host gets them: its own variables put in.
//
// Pure. Tested in plan.test.ts.

import type { Plan } from './plan.ts';
import type { ServiceCommands } from './step-types.ts';

/** @param hostName one of the plan's two; a variable that it does not set stays as it is written (check-plan.ts refuses such a plan) */
export function servicesOn(plan: Plan, hostName: string): Record<string, ServiceCommands> {
  const own = new Map(Object.entries(plan.placement.vars[hostName] ?? {}));
  const put = (words: readonly string[]): string[] =>
    words.map((word) => word.replace(/\$\{([^}]*)\}/g, (whole, name: string) => own.get(name) ?? whole));
  return Object.fromEntries(
    Object.entries(plan.services).map(([name, { start, stop, status }]) => [
      name,
      { start: put(start), stop: put(stop), status: put(status) },
    ]),
  );
}
