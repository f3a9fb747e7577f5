// Sandboxes as jobs, and their module loaded with the first: an agent that never drills holds none of it.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { Pipelines, SandboxJob } from '../../jobs/job.ts';
import { EMPTY_SUMMARY } from '../../jobs/outcome.ts';
import type { StepReport } from '../contract.ts';
import type { Sandboxes } from './sandbox.ts';
import type { SandboxesDeps } from './sandboxes.ts';

/** The sandboxes of this agent. What an earlier one left is removed from now on, and nothing opens before that is done. */
export function lazySandboxes(deps: SandboxesDeps): Sandboxes {
  let loaded: Sandboxes | undefined;
  const load = async (): Promise<Sandboxes> => {
    const { newSandboxes } = await import('./sandboxes.ts');
    await cleared;
    return (loaded ??= newSandboxes(deps));
  };
  const cleared = clear(deps);
  return {
    open: async (order) => (await load()).open(order),
    get(name) {
      if (loaded !== undefined) return loaded.get(name);
      throw new HoldfastError('NOT_FOUND', `this host has no sandbox of the run ${name}`, {
        hint: 'It ended with its time, or with the agent. Start the drill again.',
      });
    },
    close: async (name) => (await load()).close(name),
    async stop() {
      await cleared;
      await loaded?.stop();
    },
  };
}

async function clear(deps: SandboxesDeps): Promise<void> {
  if (!existsSync(join(deps.stateDir, 'drills'))) return;
  try {
    const { removeLeftSandboxes } = await import('./sandboxes.ts');
    const left = await removeLeftSandboxes(deps);
    if (left.length > 0) deps.log.warn('sandbox.not-removed', { left: left.join('; ') });
  } catch (error) {
    deps.log.error('sandbox.not-removed', { error: toHoldfastError(error).message });
  }
}

/** `open` answers ok or why there is no drill here; `close` ok, or what is left. */
export function sandboxPipeline(sandboxes: Sandboxes): Pipelines['sandbox'] {
  return async () => async (job) => ({
    summary: EMPTY_SUMMARY,
    warnings: [],
    warningsTotal: 0,
    step: await act(sandboxes, job),
  });
}

async function act(sandboxes: Sandboxes, { action, order }: SandboxJob): Promise<StepReport> {
  try {
    if (action === 'open') {
      await sandboxes.open(order);
      return report('ok', 'the sandbox is open: no network but its own, no writes but its own');
    }
    const { left } = await sandboxes.close(order.name);
    if (left.length === 0) return report('ok', 'nothing is left of the sandbox');
    return report(
      'failed',
      `what is left of the sandbox: ${left.join('; ')}`,
      'Remove it by hand, or restart the agent.',
    );
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    return report('failed', error.message, error.hint);
  }
}

function report(state: StepReport['state'], message: string, remedy = ''): StepReport {
  return { state, message, remedy, output: Buffer.alloc(0), facts: {} };
}
