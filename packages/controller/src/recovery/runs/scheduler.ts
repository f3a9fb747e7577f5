// Which steps may start, which may be undone, and whether there is anything left to do.
//
// Invariants (scheduler.property.test.ts):
//   SC1 a step starts only when all that it needs is done; a step left out of the mode counts as done;
//   SC2 never more than `parallel` are at work;
//   SC3 before `running`, only steps that run ahead start;
//   SC4 a run whose steps all end well ends, in any order of their ends;
//   SC5 a step is undone before what it needed.
//
// Pure.

import { isAtWork, isSettled, type StepState } from './run-states.ts';

export interface Node {
  readonly id: string;
  /** Of steps that are left out, too. */
  readonly needs: readonly string[];
  readonly ahead: boolean;
  readonly critical: boolean;
  readonly state: StepState;
}

/** What needs it may go on: it is well, or its failure was said not to matter. */
export function isDone(node: Pick<Node, 'state' | 'critical'>): boolean {
  return isSettled(node.state) || (hasFailed(node) && !node.critical);
}

export function hasFailed(node: Pick<Node, 'state'>): boolean {
  return node.state === 'failed' || node.state === 'timed-out';
}

/** In the order of `nodes`. */
export function startable(
  nodes: readonly Node[],
  limits: { readonly parallel: number; readonly aheadOnly: boolean },
): string[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const free = limits.parallel - nodes.filter((node) => isAtWork(node.state)).length;
  return nodes
    .filter((node) => node.state === 'pending' || node.state === 'ready')
    .filter((node) => node.ahead || !limits.aheadOnly)
    .filter((node) =>
      node.needs.every((need) => {
        const needed = byId.get(need);
        return needed === undefined || isDone(needed);
      }),
    )
    .slice(0, Math.max(0, free))
    .map((node) => node.id);
}

export type Progress =
  | 'going'
  /** Every step is done. */
  | 'finished'
  /** Something has failed, and nothing else can be done without it. */
  | 'stuck';

export function progressOf(nodes: readonly Node[]): Progress {
  if (nodes.every(isDone)) return 'finished';
  const moving = nodes.some(
    ({ state }) => isAtWork(state) || state === 'waiting' || state === 'retrying' || state === 'unknown',
  );
  if (moving || startable(nodes, { parallel: 1, aheadOnly: false }).length > 0) return 'going';
  return 'stuck';
}

/** Steps whose undoing may start now: nothing that needed them is still to be undone. Empty and none undoing: all is undone. */
export function undoable(nodes: readonly Node[], canUndo: (id: string) => boolean): string[] {
  const pending = nodes.filter((node) => wantsUndo(node.state) && canUndo(node.id));
  const blocking = new Set([...pending, ...nodes.filter((node) => isAtWork(node.state))].map((node) => node.id));
  const dependants = new Map<string, string[]>();
  for (const node of nodes) {
    for (const need of node.needs) dependants.set(need, [...(dependants.get(need) ?? []), node.id]);
  }
  return pending.filter((node) => !reaches(node.id, dependants, blocking)).map((node) => node.id);
}

/** What failed may have been half done. */
function wantsUndo(state: StepState): boolean {
  return state === 'ok' || hasFailed({ state }) || state === 'unknown' || state === 'retrying';
}

/** Whether something that directly or indirectly needed `id` is in `wanted`. */
function reaches(id: string, dependants: ReadonlyMap<string, readonly string[]>, wanted: ReadonlySet<string>): boolean {
  const seen = new Set<string>();
  const open = [...(dependants.get(id) ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (wanted.has(next)) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    open.push(...(dependants.get(next) ?? []));
  }
  return false;
}
