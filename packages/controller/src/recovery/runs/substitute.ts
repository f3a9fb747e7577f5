// Variables of a plan: ${NAME} is the step's host's, ${primary.NAME} that of the primary when the run began, ${recoveryPoint} the run's.
//
// Hazard: a value that becomes more than a value. What is put in is never looked through for variables again, and nothing is put into the
// names of fields.
//
// Pure. Tested in substitute.test.ts. Which variables there may be is checked with the plan (shared/recovery/check-plan.ts).

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Step } from '@holdfast/shared/recovery/step-types';

export interface Variables {
  /** Of the host that carries it out. */
  readonly own: Readonly<Record<string, string>>;
  readonly primary: Readonly<Record<string, string>>;
  /** ISO 8601; of a run without a point, empty. */
  readonly recoveryPoint: string;
}

/** @param hostName of the step; '' for the controller's own, whose variables are those of `standbyName` */
export function variablesFor(
  plan: Plan,
  names: { readonly host: string; readonly primary: string; readonly standby: string },
  pointMs: number,
): Variables {
  const varsOf = (host: string): Readonly<Record<string, string>> => {
    return Object.hasOwn(plan.placement.vars, host) ? (plan.placement.vars[host] ?? {}) : {};
  };
  const placed = Object.hasOwn(plan.placement.vars, names.host);
  return {
    // A witness, and the controller, look at the host that is to serve.
    own: varsOf(placed ? names.host : names.standby),
    primary: varsOf(names.primary),
    recoveryPoint: pointMs === 0 ? '' : new Date(pointMs).toISOString(),
  };
}

/** The text with its variables put in. Throws FAILED_PRECONDITION for one that is not set. */
export function substitute(text: string, variables: Variables): string {
  return text.replace(/\$\{([^}]*)\}/g, (_whole, name: string) => {
    const value = valueOf(name, variables);
    if (value === undefined) throw new HoldfastError('FAILED_PRECONDITION', `the variable ${name} has no value here`);
    return value;
  });
}

function valueOf(name: string, { own, primary, recoveryPoint }: Variables): string | undefined {
  if (name === 'recoveryPoint') return recoveryPoint;
  const [held, key] = name.startsWith('primary.') ? [primary, name.slice('primary.'.length)] : [own, name];
  return Object.hasOwn(held, key) ? held[key] : undefined;
}

/** Every text in a value, however deep; keys stay. */
function substituteDeep(value: unknown, variables: Variables): unknown {
  if (typeof value === 'string') return substitute(value, variables);
  if (Array.isArray(value)) return value.map((one) => substituteDeep(one, variables));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, substituteDeep(held, variables)]));
}

export function substituteStep(step: Step, variables: Variables): Step {
  return substituteDeep(step, variables) as Step;
}

export interface Rendering {
  readonly file: string;
  readonly replace: Readonly<Record<string, string>>;
}

/** What is replaced in restored files: here the keys are texts to be found, and have variables, too. */
export function renderings(plan: Pick<Plan, 'render'>, variables: Variables): Rendering[] {
  return plan.render.map(({ file, replace }) => ({
    file: substitute(file, variables),
    replace: Object.fromEntries(
      Object.entries(replace).map(([find, put]) => [substitute(find, variables), substitute(put, variables)]),
    ),
  }));
}
