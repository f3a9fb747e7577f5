// The failover rules over seeded schedules of faults. HOLDFAST_SEEDS sets how many seeds each scenario gets (default below);
// HOLDFAST_SEED=scenario:seed[:rule] runs one alone and prints what happened, with the rule removed when one is named:
//   HOLDFAST_SEED=chaos:17 ./dev test packages/shared/src/failover/simulation/simulation.test.ts

import { expect } from 'chai';
import { type RuleId, RULES } from './rules.ts';
import { type RunResult, runSeed } from './run.ts';
import { SCENARIOS, type ScenarioName } from './schedule.ts';

const seedsPerScenario = Number(process.env['HOLDFAST_SEEDS'] ?? 60);
const alone = process.env['HOLDFAST_SEED'];
/** How many seeds may be tried until one shows what a removed rule was for. */
const TRIES = 2000;

function explain(scenario: ScenarioName, seed: number, { failure, schedule }: RunResult): string {
  const faults = schedule.faults.map((fault) => JSON.stringify(fault)).join('\n  ');
  const what = `${failure?.assertion} at ${Math.round(failure?.atMs ?? 0)} ms: ${failure?.detail}`;
  return `${what}\n  replay: HOLDFAST_SEED=${scenario}:${seed} ./dev test packages/shared/src/failover/simulation/simulation.test.ts\n  ${faults}`;
}

describe('failover, simulated', function () {
  this.timeout(0);

  if (alone !== undefined) {
    it(`replays ${alone}`, () => {
      const [scenario, seed, without] = alone.split(':');
      const options = without === undefined ? { trace: true } : { trace: true, without: without as RuleId };
      const result = runSeed(scenario as ScenarioName, Number(seed), options);
      console.log(result.trace.join('\n'));
      expect(result.failure).to.equal(undefined);
    });
    return;
  }

  for (const scenario of SCENARIOS) {
    it(`${scenario}: no seed makes two writers, a needless failover or a needless stop`, () => {
      // What can happen to anybody needs more schedules than what is aimed at one rule.
      const seeds = scenario === 'chaos' ? seedsPerScenario * 15 : seedsPerScenario;
      for (let seed = 1; seed <= seeds; seed += 1) {
        const result = runSeed(scenario, seed);
        if (result.failure !== undefined) expect.fail(explain(scenario, seed, result));
      }
    });
  }

  it('fails over in the scenarios that mean it, or the assertions above would hold of nothing', () => {
    for (const scenario of ['death', 'paused-primary', 'edge', 'reboot', 'rollback', 'override'] as const) {
      expect(runSeed(scenario, 1).promotions, scenario).to.be.greaterThan(0);
    }
  });

  it('the same seed gives the same run', () => {
    const first = runSeed('chaos', 7, { trace: true });
    expect(runSeed('chaos', 7, { trace: true }).trace).to.deep.equal(first.trace);
  });

  describe('every rule is needed', () => {
    for (const [id, { part, says, scenario, breaks }] of Object.entries(RULES)) {
      it(`${part}: without “${says}” a seed of ${scenario} fails`, () => {
        for (let seed = 1; seed <= TRIES; seed += 1) {
          const { failure } = runSeed(scenario, seed, { without: id as RuleId });
          if (failure !== undefined && (breaks as readonly string[]).includes(failure.assertion)) return;
        }
        expect.fail(`${TRIES} seeds of ${scenario} went well without it`);
      });
    }
  });
});
