import { expect } from 'chai';
import fc from 'fast-check';
import { checkPlan } from './check-plan.ts';

interface Drawn {
  readonly modes: readonly string[];
  readonly needs: readonly number[];
}

const MODES = ['drill', 'planned', 'unplanned'];
const drawnSteps = fc.array(
  fc.record({ modes: fc.subarray(MODES, { minLength: 1 }), needs: fc.uniqueArray(fc.nat(11), { maxLength: 3 }) }),
  { minLength: 1, maxLength: 12 },
);

function documentOf(steps: readonly Drawn[]): string {
  const rows = steps.map((step, index) => {
    const needs = step.needs.filter((need) => need < steps.length).map((need) => `s${need}`);
    return `  - {id: s${index}, type: manual, text: look, in: [${step.modes.join(', ')}], needs: [${needs.join(', ')}]}\n`;
  });
  return `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [a, b]}
sources: [files]
steps:
${rows.join('')}`;
}

/** By walking every way from every step: another algorithm than the one under test. */
function hasCircle(steps: readonly Drawn[], mode: string): boolean {
  const walk = (at: number, way: readonly number[]): boolean => {
    const step = steps[at];
    if (step === undefined || !step.modes.includes(mode)) return false;
    return way.includes(at) || step.needs.some((need) => walk(need, [...way, at]));
  };
  return steps.some((_, index) => walk(index, []));
}

describe('checking of recovery plans', () => {
  it('P1 finds a circle in a mode exactly when there is one', () => {
    fc.assert(
      fc.property(drawnSteps, (steps) => {
        const messages = checkPlan(documentOf(steps)).findings.map(({ message }) => message);
        const found = MODES.filter((mode) => messages.some((message) => message.startsWith(`in ${mode} runs`)));
        expect(found).to.deep.equal(MODES.filter((mode) => hasCircle(steps, mode)));
        expect(messages).to.have.length(found.length);
      }),
      { numRuns: 150 },
    );
  });
});
