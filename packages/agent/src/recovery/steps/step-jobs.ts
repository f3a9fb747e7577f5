// Steps as jobs: the runner, and what it stands on, are loaded with the first one.

import type { Pipelines } from '../../jobs/job.ts';
import { EMPTY_SUMMARY } from '../../jobs/outcome.ts';
import type { StepRunner, StepRunnerDeps } from './step-runner.ts';

export function stepPipeline(deps: StepRunnerDeps): Pipelines['step'] {
  let loading: Promise<StepRunner> | undefined;
  return async () => {
    loading ??= import('./step-runner.ts').then(({ newStepRunner }) => newStepRunner(deps));
    // A file that could not be read now may be readable later.
    loading.catch(() => (loading = undefined));
    const runner = await loading;
    return async (job, { clock }, signal) => {
      const startedAtMs = clock.monotonicMs();
      const step = await runner.run(job.step, signal);
      const durationMs = Math.round(clock.monotonicMs() - startedAtMs);
      return { summary: { ...EMPTY_SUMMARY, durationMs }, warnings: [], warningsTotal: 0, step };
    };
  };
}
