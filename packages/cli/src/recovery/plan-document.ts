// A plan that a command line names: a file, or one that is applied.
//
// A word with a slash, a dot at its end's `.yaml` or `.yml`, or that is a file here, is a file; everything else is a plan's name.

import { readFileSync, statSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type { PlanInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { Session } from '../session/session.ts';

export interface NamedPlan {
  readonly document: string;
  readonly plan: Plan;
  /** Undefined: from a file. */
  readonly info: PlanInfo | undefined;
}

/** Throws USAGE when it can't be read. */
export function readDocument(session: Session, file: string): string {
  try {
    return readFileSync(session.environment.resolvePath(file), 'utf8');
  } catch (cause) {
    throw new HoldfastError('USAGE', `${file} can't be read`, { cause });
  }
}

export function isFile(session: Session, named: string): boolean {
  if (named.includes('/') || /\.ya?ml$/.test(named)) return true;
  return statSync(session.environment.resolvePath(named), { throwIfNoEntry: false })?.isFile() === true;
}

/** Throws INVALID_ARGUMENT for a document with faults, NOT_FOUND for a name that no plan has. */
export async function namedPlan(session: Session, named: string, revision = 0): Promise<NamedPlan> {
  if (isFile(session, named)) return { ...readable(readDocument(session, named), named), info: undefined };
  const answer = await (await session.recovery()).getPlan({ domain: await session.domain(), plan: named, revision });
  return { ...readable(answer.document, named), info: answer.plan };
}

function readable(document: string, named: string): { document: string; plan: Plan } {
  const { plan, findings } = checkPlan(document);
  if (plan !== undefined && findings.length === 0) return { document, plan };
  const [first] = findings;
  const where = first === undefined ? '' : `: line ${first.line}: ${first.message}`;
  throw new HoldfastError('INVALID_ARGUMENT', `${named} is no sound plan${where}`, {
    hint: 'See all of it with: holdfast plan check FILE',
  });
}

/** Who is which: as the catalog has it, or as the document begins. */
export function hostsOf({ plan, info }: NamedPlan): { readonly primary: string; readonly standby: string } {
  const [primary = '', standby = ''] = plan.placement.hosts;
  return info === undefined ? { primary, standby } : { primary: info.primary, standby: info.standby };
}
