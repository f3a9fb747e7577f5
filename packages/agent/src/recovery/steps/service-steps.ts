// `service.start` and `service.stop`: in the order of the plan, each until its status says so.
//
// What ran before is remembered, so that taking the step back leaves alone what it did not change.
//
// Tested in step-conformance.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { StepRecord } from './step-records.ts';
import type { SpecOf, StepContext, StepType } from './step-type.ts';

type Spec = SpecOf<'service.start' | 'service.stop'>;

const MEMORY = 'units';

function serviceStep<S extends Spec>(wanted: boolean): StepType<S> {
  const doing = wanted ? 'runs' : 'is stopped';
  return {
    changes: true,
    async precheck({ units }, context) {
      for (const unit of units) {
        try {
          await context.services.runs(unit, context.signal);
        } catch (error) {
          const { message, hint } = toHoldfastError(error);
          return { state: 'failed', message: `${unit}: ${message}`, remedy: hint };
        }
      }
      return { state: 'ok', message: `this host knows ${units.join(', ')}` };
    },
    async probe({ units }, context) {
      const others = await otherwise(units, wanted, context);
      if (others.length === 0) return { state: 'done', message: `${units.join(', ')} ${doing}` };
      return { state: 'not-done', message: `${others.join(', ')} ${wanted ? 'does not run' : 'runs'}` };
    },
    async apply({ units }, context) {
      const others = await otherwise(units, wanted, context);
      const before = context.memory()[MEMORY];
      context.remember({
        [MEMORY]: [...new Set([...(before?.split(' ') ?? []), ...others])].filter(Boolean).join(' '),
      });
      for (const unit of units) await set(unit, wanted, context);
      if (wanted) await context.serving?.activated(context.order.application, context.order.epoch);
      return {
        state: 'ok',
        message: others.length === 0 ? `${units.join(', ')} ${doing} already` : `${others.join(', ')} ${doing} now`,
      };
    },
    async verify(spec, context, record) {
      const found = await this.probe(spec, context, record);
      return { ...found, state: found.state === 'done' ? 'ok' : 'failed' };
    },
    async undo({ units }, context, record) {
      const changed = changedBy(record);
      for (const unit of units.toReversed()) if (changed.includes(unit)) await set(unit, !wanted, context);
      return {
        state: 'ok',
        message: changed.length === 0 ? 'it had changed nothing' : `${changed.join(', ')}: as before`,
      };
    },
  };
}

function changedBy(record: StepRecord | undefined): string[] {
  return (record?.memory[MEMORY] ?? '').split(' ').filter((unit) => unit !== '');
}

async function set(unit: string, wanted: boolean, { services, signal }: StepContext): Promise<void> {
  if (signal.aborted) throw new HoldfastError('CANCELLED', 'the step was ended');
  await (wanted ? services.start(unit, signal) : services.stop(unit, signal));
}

async function otherwise(units: readonly string[], wanted: boolean, context: StepContext): Promise<string[]> {
  const found: string[] = [];
  for (const unit of units) if ((await context.services.runs(unit, context.signal)) !== wanted) found.push(unit);
  return found;
}

export const serviceStart = serviceStep<SpecOf<'service.start'>>(true);
export const serviceStop = serviceStep<SpecOf<'service.stop'>>(false);
