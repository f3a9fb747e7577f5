import { expect } from 'chai';
import fc from 'fast-check';

import { isDone, progressOf, startable, undoable, type Node } from './scheduler.ts';
import { isAtWork, type StepState } from './run-states.ts';

/** A graph without cycles: steps need earlier ones, and some that are left out of the mode. */
const graph = fc
  .array(
    fc.record({ needs: fc.array(fc.nat({ max: 40 }), { maxLength: 4 }), ahead: fc.boolean(), critical: fc.boolean() }),
    {
      minLength: 1,
      maxLength: 25,
    },
  )
  .map((nodes) =>
    nodes.map(({ needs, ahead, critical }, index): Node => {
      const earlier = needs.filter((need) => need < index || need > nodes.length);
      return { id: `s${index}`, needs: earlier.map((need) => `s${need}`), ahead, critical, state: 'pending' };
    }),
  );
const turns = fc.infiniteStream(fc.nat());

const change = (nodes: Node[], ids: readonly string[], state: StepState): Node[] =>
  nodes.map((node) => (ids.includes(node.id) ? { ...node, state } : node));

describe('the scheduler', () => {
  it('SC1 SC2 SC4 starts what all it needs is done of, never too many, and comes to the end in any order', () => {
    fc.assert(
      fc.property(graph, fc.integer({ min: 1, max: 5 }), turns, (first, parallel, turn) => {
        let nodes = first;
        for (let guard = 0; progressOf(nodes) !== 'finished'; guard++) {
          expect(guard).to.be.lessThan(200);
          expect(progressOf(nodes)).to.equal('going');
          const ids = startable(nodes, { parallel, aheadOnly: false });
          for (const id of ids) {
            const needs = nodes.find((node) => node.id === id)!.needs;
            expect(
              needs.every((need) => isDone(nodes.find((node) => node.id === need) ?? { state: 'ok', critical: true })),
            ).to.equal(true);
          }
          nodes = change(nodes, ids, 'dispatched');
          const working = nodes.filter((node) => isAtWork(node.state));
          expect(working.length).to.be.within(1, parallel);
          nodes = change(nodes, [working[turn.next().value! % working.length]!.id], 'ok');
        }
      }),
    );
  });

  it('SC3 before the run runs, only what runs ahead starts', () => {
    fc.assert(
      fc.property(graph, (nodes) => {
        const ids = startable(nodes, { parallel: 100, aheadOnly: true });
        expect(ids.every((id) => nodes.find((node) => node.id === id)!.ahead)).to.equal(true);
        const all = startable(nodes, { parallel: 100, aheadOnly: false });
        expect(all).to.include.members(ids);
      }),
    );
  });

  it('what failed and matters holds back what needs it alone; what does not matter counts as done', () => {
    fc.assert(
      fc.property(graph, turns, (first, turn) => {
        let nodes = first;
        while (progressOf(nodes) === 'going') {
          const ids = startable(nodes, { parallel: 3, aheadOnly: false });
          nodes = change(nodes, ids, turn.next().value! % 4 === 0 ? 'failed' : 'ok');
        }
        const open = nodes.filter((node) => node.state === 'pending');
        for (const node of open) {
          const blocked = node.needs.some((need) => {
            const needed = nodes.find((one) => one.id === need);
            return needed !== undefined && !isDone(needed);
          });
          expect(blocked, node.id).to.equal(true);
        }
      }),
    );
  });

  it('SC5 everything that can be undone is undone, and nothing before what needed it', () => {
    fc.assert(
      fc.property(graph, turns, fc.func(fc.boolean()), (first, turn, undoes) => {
        let nodes = first.map((node): Node => ({ ...node, state: turn.next().value! % 5 === 0 ? 'pending' : 'ok' }));
        const canUndo = (id: string): boolean => undoes(id);
        const undone: string[] = [];
        for (let ids = undoable(nodes, canUndo); ids.length > 0; ids = undoable(nodes, canUndo)) {
          for (const id of ids) {
            const dependants = nodes.filter(
              (node) => node.needs.includes(id) && canUndo(node.id) && node.state === 'ok',
            );
            expect(
              dependants.map((node) => node.id),
              id,
            ).to.deep.equal([]);
          }
          undone.push(...ids);
          nodes = change(nodes, ids, 'undone');
        }
        expect(nodes.filter((node) => node.state === 'ok' && canUndo(node.id))).to.deep.equal([]);
        expect(new Set(undone).size).to.equal(undone.length);
      }),
    );
  });
});
