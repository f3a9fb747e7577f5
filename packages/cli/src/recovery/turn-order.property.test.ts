import { expect } from 'chai';
import fc from 'fast-check';
import { turnOrder, type OrderedPlan } from './turn-order.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const plans = fc.tuple(
  ...NAMES.map((name) =>
    fc.record<OrderedPlan>({
      name: fc.constant(name),
      priority: fc.constantFrom(1, 50, 100),
      dependsOn: fc.subarray([...NAMES, 'elsewhere'], { maxLength: 3 }),
    }),
  ),
);

describe('the order in which plans are started', () => {
  const names = (given: readonly OrderedPlan[]): string =>
    turnOrder(given)
      .map(({ name }) => name)
      .join(' ');

  it('begins with what others depend on, then goes by priority, then by name', () => {
    const shop = { name: 'shop', priority: 1, dependsOn: ['db', 'dns'] };
    const rest = ['wiki', 'blog', 'db'].map((name) => ({ name, priority: 100, dependsOn: [] }));
    expect(names([shop, ...rest, { name: 'dns', priority: 500, dependsOn: [] }])).to.equal('blog db wiki dns shop');
    expect(names([])).to.equal('');
  });

  it('TO1 TO2 has every plan once, and none before one that it depends on, but in a circle', () => {
    fc.assert(
      fc.property(plans, (given) => {
        const order = turnOrder(given);
        expect(order.map(({ name }) => name).toSorted()).to.deep.equal(NAMES);
        for (const [at, plan] of order.entries()) {
          for (const later of order.slice(at + 1)) {
            if (!plan.dependsOn.includes(later.name)) continue;
            expect(leads(given, later.name, plan.name), `${plan.name} before ${later.name}`).to.equal(true);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

/** By adding what is reached until nothing is added. */
function leads(given: readonly OrderedPlan[], from: string, to: string): boolean {
  const reached = new Set([from]);
  for (let before = 0; before < reached.size;) {
    before = reached.size;
    for (const { name, dependsOn } of given) if (reached.has(name)) for (const next of dependsOn) reached.add(next);
  }
  return reached.has(to);
}
