// Ways along `metadata.dependsOn`, from plan to plan.
//
// Pure. Tested where orders are made of it: turn.property.test.ts of the controller, turn-order.property.test.ts of the command line.

/** Whether one leads to the other, over however many. @param needs what a plan names; nothing for a name that no plan has */
export function leadsTo(from: string, to: string, needs: (name: string) => readonly string[]): boolean {
  const seen = new Set<string>();
  const open = [from];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next === to) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    open.push(...needs(next));
  }
  return false;
}

/** Names of those that a plan waits for: it depends on them, and they don't depend on it, too. */
export function waitsFor(
  plan: { readonly name: string; readonly dependsOn: readonly string[] },
  others: ReadonlyMap<string, { readonly dependsOn: readonly string[] }>,
): string[] {
  const needs = (name: string): readonly string[] => others.get(name)?.dependsOn ?? [];
  const names = plan.dependsOn.filter(
    (name) => name !== plan.name && others.has(name) && !leadsTo(name, plan.name, needs),
  );
  return [...new Set(names)].toSorted();
}
