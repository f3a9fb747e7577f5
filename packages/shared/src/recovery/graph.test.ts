import { readFileSync } from 'node:fs';

import { expect } from 'chai';
import fc from 'fast-check';

import { checkPlan } from './check-plan.ts';
import { graphLines, inOrder, planNodes, type GraphNode } from './graph.ts';

const example = readFileSync(new URL('../../../../docs/plans.md', import.meta.url), 'utf8')
  .split('```yaml\n')[1]!
  .split('```')[0]!;
const hosts = { primary: 'web-1', standby: 'web-2' };

const drawnNodes = fc
  .array(fc.uniqueArray(fc.nat(11), { maxLength: 4 }), { minLength: 1, maxLength: 12 })
  .map((needs): GraphNode[] =>
    needs.map((each, at) => ({
      id: `s${at}`,
      label: 'step',
      needs: each.filter((need) => need < at).map((need) => `s${need}`),
    })),
  );

/** Needs without those that follow from others, by walking. */
function reduced(nodes: readonly GraphNode[]): string[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const reaches = (from: string, to: string): boolean => {
    const needs = byId.get(from)?.needs ?? [];
    return needs.some((need) => need === to || reaches(need, to));
  };
  return nodes
    .flatMap(({ id, needs }) =>
      needs.filter((need) => !needs.some((other) => reaches(other, need))).map((need) => `${need}>${id}`),
    )
    .toSorted();
}

/**
 * Reads the lines from above: what flows down each lane. In a line that joins lanes, those that end there flow into those that go on down;
 * where none ends, the step just above flows into all.
 */
function readBack(lines: readonly string[]): string[] {
  let flows: ReadonlySet<string>[] = [];
  let above = -1;
  const found = new Set<string>();
  for (const line of lines) {
    const node = /s\d+/.exec(line)?.[0];
    const drawn = node === undefined ? line : line.slice(0, line.indexOf(node));
    const signs = drawn.split('').filter((_, x) => x % 2 === 0);
    if (node !== undefined) {
      above = signs.findIndex((sign) => '●○'.includes(sign));
      if (signs[above] === '●') for (const need of flows[above] ?? []) found.add(`${need}>${node}`);
      flows = signs.map((sign, lane) =>
        lane === above ? new Set([node]) : sign === '│' ? (flows[lane] ?? new Set()) : new Set(),
      );
      continue;
    }
    const ending = signs.flatMap((sign, lane) => ('╯┴╰'.includes(sign) ? [lane] : []));
    const joined = new Set((ending.length > 0 ? ending : [above]).flatMap((lane) => [...(flows[lane] ?? [])]));
    flows = signs.map((sign, lane) => {
      const own = flows[lane] ?? new Set<string>();
      if ('├┤┼'.includes(sign)) return new Set([...own, ...joined]);
      if ('┬╮╭'.includes(sign)) return joined;
      return sign === '│' ? own : new Set<string>();
    });
  }
  return [...found].toSorted();
}

describe('the graph of a plan', () => {
  it('shows each mode of the documented example within 80 columns', () => {
    const { plan } = checkPlan(example);
    const lines = graphLines(planNodes(plan!, 'planned', hosts), 80);
    expect(lines).to.deep.equal([
      '○    rebuild  rebuild           web-2  (ahead)',
      '●    quiesce  service.stop      web-1',
      '●    last     snapshot          web-1',
      '●    fence    fence             web-1',
      '├─╮',
      '● │  files    restore.files     web-2',
      '│ ●  db       restore.postgres  web-2',
      '│ ●  db-ok    check.sql         web-2',
      '├─╯',
      '●    migrate  command           web-2',
      '●    start    service.start     web-2',
      '●    healthy  check.http        web-2',
      '●    switch   traffic           web-2',
      '●    outside  check.http        witnesses',
      '●    tell     notify            (may fail)',
    ]);
    for (const mode of ['drill', 'planned', 'unplanned'] as const) {
      for (const line of graphLines(planNodes(plan!, mode, hosts), 80)) expect(line.length, line).to.be.at.most(80);
    }
  });

  it('G1 G3 every step is there once, below what it needs, and the needs can be read back from the lines', () => {
    fc.assert(
      fc.property(drawnNodes, (nodes) => {
        const lines = graphLines(nodes, 200);
        const shown = lines.flatMap((line) => /s\d+/.exec(line)?.[0] ?? []);
        expect(shown).to.deep.equal(inOrder(nodes).map(({ id }) => id));
        expect(readBack(lines), lines.join('\n')).to.deep.equal(reduced(nodes));
      }),
      { numRuns: 300 },
    );
  });

  it('G2 a label that does not fit is cut', () => {
    const [line] = graphLines([{ id: 'a', needs: [], label: 'x'.repeat(100) }], 20);
    expect(line).to.have.length(20).and.match(/…$/);
  });

  it('steps in a circle are left out: the checks complain of them', () => {
    const nodes = [
      { id: 'a', needs: ['b'], label: '' },
      { id: 'b', needs: ['a'], label: '' },
      { id: 'c', needs: [], label: '' },
    ];
    expect(graphLines(nodes, 80)).to.deep.equal(['○  c']);
  });
});
