// `check.http`, `check.tcp`, `check.sql` and `check.command`: is it well, and does it stay so?
//
// A check looks again and again until it is well for as long as the plan asks, or its time is over. It changes nothing, so it is not noted,
// and a question whether it is done is a look of its own.
//
// Tested in step-conformance.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep } from '@holdfast/shared/runtime/clock';
import { refusedProgram } from '../../jobs/program.ts';
import { hostAndPort } from './looks/tcp-look.ts';
import type { Look } from './looks/look-target.ts';
import type { SpecOf, StepAnswer, StepContext, StepType } from './step-type.ts';

interface Check<Spec> {
  /** Why it can never be well, or undefined. */
  refuses(spec: Spec, context: StepContext): StepAnswer | undefined;
  look(spec: Spec, context: StepContext): Promise<Look>;
}

/** Between two looks; the first ones come quicker, for most services need a moment. */
const PAUSES_MS = [50, 100, 200];
const PAUSE_MS = 250;

function checkStep<Spec extends SpecOf<'check.http' | 'check.tcp' | 'check.sql' | 'check.command'>>(
  check: Check<Spec>,
): StepType<Spec> {
  const once = async (spec: Spec, context: StepContext): Promise<Look> => {
    const refusal = check.refuses(spec, context);
    if (refusal !== undefined) return { well: false, message: refusal.message ?? '', facts: {} };
    return check.look(spec, context);
  };
  return {
    changes: false,
    async precheck(spec, context) {
      // Nothing of it has to be well yet.
      return check.refuses(spec, context) ?? { state: 'ok', message: 'it can be looked at' };
    },
    async probe(spec, context) {
      if (spec.for !== undefined) return { state: 'not-done', message: `it has to be well for ${spec.for / 1000} s` };
      const { well, message, facts } = await once(spec, context);
      return { state: well ? 'done' : 'not-done', message, facts };
    },
    async apply(spec, context) {
      const refusal = check.refuses(spec, context);
      return refusal ?? untilWell(spec.for ?? 0, () => check.look(spec, context), context);
    },
    async verify(spec, context) {
      const { well, message, facts } = await once(spec, context);
      return { state: well ? 'ok' : 'failed', message, facts };
    },
  };
}

async function untilWell(forMs: number, look: () => Promise<Look>, context: StepContext): Promise<StepAnswer> {
  const { clock, signal, untilMs } = context;
  let wellSince: number | undefined;
  let wellAt = 0;
  let last = '';
  for (let looks = 0; !signal.aborted; looks++) {
    const began = clock.monotonicMs();
    const { well, message, facts } = await look();
    if (signal.aborted) break;
    last = message;
    if (well) {
      wellAt = wellSince === undefined ? clock.wallMs() : wellAt;
      wellSince ??= began;
      const wellForMs = clock.monotonicMs() - wellSince;
      if (wellForMs >= forMs) {
        return {
          state: 'ok',
          message,
          facts: { ...facts, 'healthy-at-ms': String(Math.round(wellAt)), looks: String(looks + 1) },
        };
      }
    } else {
      wellSince = undefined;
    }
    const pauseMs = Math.min(PAUSES_MS[looks] ?? PAUSE_MS, Math.max(0, untilMs - clock.monotonicMs()));
    await sleep(clock, pauseMs, signal);
  }
  throw new HoldfastError('TIMED_OUT', `it did not become well${forMs > 0 ? ` for ${forMs / 1000} s` : ''}: ${last}`);
}

export const httpCheck = checkStep<SpecOf<'check.http'>>({
  refuses({ url }) {
    const known = URL.canParse(url) && ['http:', 'https:'].includes(new URL(url).protocol);
    return known ? undefined : { state: 'failed', message: `${url} is no http:// or https:// URL` };
  },
  look: ({ url, contains }, context) => context.look({ kind: 'http', url, contains }),
});

export const tcpCheck = checkStep<SpecOf<'check.tcp'>>({
  refuses: ({ address }) =>
    hostAndPort(address) === undefined ? { state: 'failed', message: `${address} is not HOST:PORT` } : undefined,
  look: ({ address }, context) => context.look({ kind: 'tcp', address }),
});

export const sqlCheck = checkStep<SpecOf<'check.sql'>>({
  refuses({ source }, { order }) {
    const engine = order.resolved.source?.type;
    if (engine === 'postgres' || engine === 'mariadb') return undefined;
    const message =
      engine === undefined ? `how ${source} is reached was not said` : `a ${engine} source can't be asked by check.sql`;
    return { state: 'failed', message, remedy: 'check.sql asks postgres and mariadb.' };
  },
  look({ query, maxAge }, context) {
    const { type: engine = '', settings = {} } = context.order.resolved.source ?? {};
    return context.look({ kind: 'sql', engine, settings, query, maxAgeMs: maxAge });
  },
});

export const commandCheck = checkStep<SpecOf<'check.command'>>({
  refuses({ run: [program = ''] }, context) {
    const refusal = refusedProgram(context.path(program));
    const remedy = `Put an executable ${program} onto this host.`;
    return refusal === undefined ? undefined : { state: 'failed', message: refusal, remedy };
  },
  async look({ run }, context) {
    const { ok, problem, output } = await context.ask(run, { environment: context.environment() });
    const said = output.trim().slice(-500);
    return {
      well: ok,
      message: ok ? `${run[0]} says that it is well` : `${problem}${said === '' ? '' : `: ${said}`}`,
      facts: {},
    };
  },
});
