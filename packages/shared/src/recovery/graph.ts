// The steps of a plan as lines of a terminal: one step a line, in an order in which they can run, with the ways between them in lanes to the
// left, as `git log --graph` draws history (its lanes, https://git-scm.com/docs/git-log#_commit_formatting).
//
// A step that waits for nothing is ○, every other one ●: nothing leads to a ○ from above it. A need that follows from other needs is not drawn. A way that crosses another one passes behind it (│); a way that joins one meets it (┼, ├, ┴).
//
// Invariants (graph.test.ts): G1 every step of the mode is there once, below all that it needs; G2 no line is wider than asked; G3 from the
// lines alone the needs (reduced) can be read back.
//
// Pure.

import type { Plan } from './plan.ts';
import type { Mode, Step } from './step-types.ts';

export interface GraphNode {
  readonly id: string;
  readonly needs: readonly string[];
  /** What stands behind its name. */
  readonly label: string;
}

/** The steps that run in a mode. A need of a step that is left out counts as done, and goes no further. */
export function planNodes(
  plan: Plan,
  mode: Mode,
  hosts: { readonly primary: string; readonly standby: string },
): GraphNode[] {
  const running = plan.steps.filter((step) => step.in.includes(mode));
  const ids = new Set(running.map(({ id }) => id));
  const widest = Math.max(0, ...running.map(({ type }) => type.length));
  return running.map((step) => {
    const where = hostOf(step, hosts);
    const notes = [step.ahead ? 'ahead' : '', step.critical ? '' : 'may fail'].filter((note) => note !== '').join(', ');
    return {
      id: step.id,
      needs: step.needs.filter((need) => ids.has(need)),
      label: [step.type.padEnd(widest), where, notes === '' ? '' : `(${notes})`]
        .filter((part) => part !== '')
        .join('  '),
    };
  });
}

/** The name of a step's host; empty: the controller itself. */
export function hostOf(step: Step, hosts: { readonly primary: string; readonly standby: string }): string {
  if (step.type === 'check.http' && step.from !== undefined) return step.from;
  if (!('host' in step)) return '';
  if (step.host === 'primary') return hosts.primary;
  return step.host === 'standby' ? hosts.standby : step.host;
}

/** In an order in which they can run: of those that can, always the first. Steps in a circle are left out. */
export function inOrder<T extends Pick<GraphNode, 'id' | 'needs'>>(nodes: readonly T[]): T[] {
  const ids = new Set(nodes.map(({ id }) => id));
  const done = new Set<string>();
  const ordered: T[] = [];
  for (;;) {
    const next = nodes.find(
      ({ id, needs }) => !done.has(id) && needs.every((need) => done.has(need) || !ids.has(need)),
    );
    if (next === undefined) return ordered;
    done.add(next.id);
    ordered.push(next);
  }
}

/** @param width in characters; what does not fit of a label is cut, of lanes not */
export function graphLines(nodes: readonly GraphNode[], width: number): string[] {
  const ordered = inOrder(nodes);
  const next = dependents(ordered);
  const lanes: (string | undefined)[] = [];
  const rows: { readonly lanes: string; readonly node: GraphNode | undefined }[] = [];
  for (const node of ordered) {
    const waiting = lanes.flatMap((target, at) => (target === node.id ? [at] : []));
    const at = waiting[0] ?? freeLane(lanes, 0);
    if (waiting.length > 1) rows.push({ lanes: joinRow(lanes, at, waiting), node: undefined });
    for (const other of waiting.slice(1)) lanes[other] = undefined;
    lanes[at] = node.id;
    rows.push({ lanes: nodeRow(lanes, at, waiting.length > 0), node });
    const fork = forkRow(lanes, at, next.get(node.id) ?? []);
    if (fork !== undefined) rows.push({ lanes: fork, node: undefined });
    while (lanes.length > 0 && lanes.at(-1) === undefined) lanes.pop();
  }
  const indent = Math.max(0, ...rows.filter(({ node }) => node !== undefined).map((row) => row.lanes.length)) + 1;
  const names = Math.max(0, ...ordered.map(({ id }) => id.length));
  return rows.map((row) => {
    if (row.node === undefined) return row.lanes.trimEnd();
    return shorten(`${row.lanes.padEnd(indent)} ${row.node.id.padEnd(names)}  ${row.node.label}`.trimEnd(), width);
  });
}

/** What needs a step directly: not by way of another one that needs it, too. */
function dependents(ordered: readonly GraphNode[]): Map<string, string[]> {
  const before = new Map<string, Set<string>>();
  const next = new Map<string, string[]>();
  for (const { id, needs } of ordered) {
    const all = new Set(needs.flatMap((need) => [need, ...(before.get(need) ?? [])]));
    before.set(id, all);
    const direct = needs.filter(
      (need) => !needs.some((other) => other !== need && before.get(other)?.has(need) === true),
    );
    for (const need of new Set(direct)) next.set(need, [...(next.get(need) ?? []), id]);
  }
  return next;
}

function freeLane(lanes: readonly (string | undefined)[], from: number): number {
  for (let at = from; at < lanes.length; at++) if (lanes[at] === undefined) return at;
  return Math.max(from, lanes.length);
}

function nodeRow(lanes: readonly (string | undefined)[], at: number, waits: boolean): string {
  const sign = waits ? '●' : '○';
  return lanes.map((target, lane) => (lane === at ? sign : target === undefined ? ' ' : '│')).join(' ');
}

/** Ways that end at the node below, drawn into its lane. */
function joinRow(lanes: readonly (string | undefined)[], at: number, ending: readonly number[]): string {
  const ends = new Map(ending.map((lane) => [lane, { up: true, down: lane === at }]));
  return rule(lanes, ends);
}

/**
 * Ways from the node above to what needs it: into a lane that leads there already, on in its own, or in a new one. Changes `lanes`.
 * Undefined: nothing but its own lane goes on, or ends.
 */
function forkRow(lanes: (string | undefined)[], at: number, targets: readonly string[]): string | undefined {
  lanes[at] = undefined;
  const ends = new Map<number, Arms>();
  const fresh: string[] = [];
  for (const target of targets) {
    const there = lanes.indexOf(target);
    if (there >= 0) ends.set(there, { up: true, down: true });
    else fresh.push(target);
  }
  const [own, ...others] = fresh;
  const before = [...lanes];
  lanes[at] = own;
  for (const target of others) {
    const lane = freeLane(lanes, at + 1);
    lanes[lane] = target;
    ends.set(lane, { up: false, down: true });
  }
  if (ends.size === 0) return undefined;
  ends.set(at, { up: true, down: own !== undefined });
  return rule(before, ends);
}

interface Arms {
  readonly up: boolean;
  readonly down: boolean;
}

/** A line from the first of the lanes that meet to the last; all others go straight on. */
function rule(lanes: readonly (string | undefined)[], ends: ReadonlyMap<number, Arms>): string {
  const from = Math.min(...ends.keys());
  const to = Math.max(...ends.keys());
  let text = '';
  for (let lane = 0; lane < Math.max(lanes.length, to + 1); lane++) {
    const end = ends.get(lane);
    const within = lane > from && lane < to;
    if (end !== undefined) text += corner(end, lane > from, lane < to);
    else if (lanes[lane] !== undefined) text += '│';
    else text += within ? '─' : ' ';
    text += lane >= from && lane < to ? '─' : ' ';
  }
  return text.trimEnd();
}

function corner({ up, down }: Arms, left: boolean, right: boolean): string {
  const arms = `${up ? 'u' : ''}${down ? 'd' : ''}${left ? 'l' : ''}${right ? 'r' : ''}`;
  const corners: Readonly<Record<string, string>> = {
    udlr: '┼',
    udl: '┤',
    udr: '├',
    ulr: '┴',
    dlr: '┬',
    ul: '╯',
    ur: '╰',
    dl: '╮',
    dr: '╭',
  };
  return corners[arms] ?? '─';
}

function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
