// A catalog that was restored from an older state waits for a plan's hosts: what that means for readiness, and what to do. Pure.
//
// Tested in rollback-facts.test.ts.

import type { Fact } from '../objectives/plan-look.ts';

/** @param unreported names of the hosts that have not reported to the restored catalog yet */
export function rollbackFacts(plan: string, unreported: readonly string[]): Fact[] {
  return unreported.map((host) => ({
    level: 'error',
    subject: host,
    message:
      'the catalog was restored from an older state, and this host has not said yet which epochs it knows: nothing is granted or ordered',
    remedy: `Start its agent. If it is off for good: holdfast plan override ${plan} --dead ${host}`,
  }));
}
