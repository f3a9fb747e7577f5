// `holdfast plan`: recovery plans. `check` needs no controller: what a document says can be checked where it is written.

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import type { Session } from './session/session.ts';

export function define(program: Command, session: Session): void {
  const plan = program.command('plan').description('recovery plans: how an application runs again on another host');
  plan
    .command('check')
    .description('check a plan document: fields, order, variables, fencing; without a controller')
    .argument('<file>', 'the plan, YAML')
    .action(async (file: string) => await check(session, file));
}

async function check(session: Session, file: string): Promise<void> {
  const { plan, findings } = checkPlan(readPlan(session, file));
  if (session.json) {
    await session.document({ plan: plan?.metadata.name ?? null, steps: plan?.steps.length ?? 0, findings });
  } else {
    const lines = findings.map(
      ({ line, column, field, message }) =>
        `${file}:${line}:${column}: ${field === '' ? '' : `${field}: `}${message}\n`,
    );
    await session.write(
      lines.join('') ||
        `${file}: plan ${plan?.metadata.name}, ${plan?.steps.length} steps: nothing is wrong with the document.\n`,
    );
  }
  if (findings.length > 0) {
    throw new HoldfastError(
      'INVALID_ARGUMENT',
      `${file} has ${findings.length} ${findings.length === 1 ? 'fault' : 'faults'}`,
    );
  }
}

function readPlan(session: Session, file: string): string {
  try {
    return readFileSync(session.environment.resolvePath(file), 'utf8');
  } catch (cause) {
    throw new HoldfastError('USAGE', `${file} can't be read`, { cause });
  }
}
