// What a plan depends on, against the plans that are applied in its domain: are they there, and do they wait for it in turn?
//
// Hazard: an order that people count on in a disaster, and that is not kept: nothing waits for a plan that is not there, and of plans in a circle
// none waits for the other.
//
// Tested in dependencies.test.ts and api/recovery.db.test.ts.

import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';
import type { FieldPath, Plan } from '@holdfast/shared/recovery/plan';

import { listPlans, plansAt, type Queryable } from './plan-store.ts';

type Report = (level: 'warning', path: FieldPath, message: string, remedy?: string) => void;

/** Warnings: what is named may be applied later, and a circle does no harm but to the order. */
export async function lookUpDependencies(
  client: Queryable,
  domainId: string,
  { metadata: { name, dependsOn } }: Plan,
  report: Report,
): Promise<void> {
  if (dependsOn.length === 0) return;
  const rows = await listPlans(client, domainId);
  const names = rows.map((row) => row.name);
  for (const [index, wanted] of dependsOn.entries()) {
    if (wanted === name || names.includes(wanted)) continue;
    const near = didYouMean(nearNames(wanted, names));
    const missing = `there is no plan "${wanted}" yet: until there is, nothing waits for it`;
    report('warning', ['metadata', 'dependsOn', index], missing, near || `apply ${wanted}, or leave it out`);
  }
  const plans = await plansAt(
    client,
    rows.map(({ id, revision }) => ({ planId: id, revision })),
  );
  const needs = new Map([...plans.values()].map(({ metadata }) => [metadata.name, metadata.dependsOn]));
  const circle = circleThrough(name, needs.set(name, dependsOn));
  if (circle === undefined) return;
  const at = dependsOn.indexOf(circle[1] ?? '');
  const found = `these depend on each other, and none will wait for the other: ${circle.join(' → ')}`;
  report('warning', ['metadata', 'dependsOn', at], found, 'leave one of them out of dependsOn');
}

/** A shortest way from a plan back to itself over at least one other, both ends included; undefined: there is none. Breadth first. */
export function circleThrough(name: string, needs: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const seen = new Set<string>([name]);
  let ways = [[name]];
  while (ways.length > 0) {
    const further: string[][] = [];
    for (const way of ways) {
      for (const next of needs.get(way.at(-1) ?? '') ?? []) {
        if (next === name && way.length > 1) return [...way, next];
        if (seen.has(next)) continue;
        seen.add(next);
        further.push([...way, next]);
      }
    }
    ways = further;
  }
  return undefined;
}
