// The precheck of `restore.*`: could what the plan restores go where it is to go? The restore itself is a job of its own (jobs/job.ts).
//
// Hazard: a directory with somebody else's data, or a full disk, that is found out in the middle of a failover. So it is looked at on every live
// check, and before a planned run or a drill begins.
//
// Tested in restore-look.test.ts.

import { existsSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { HostStepSpec, ResolvedData } from '@holdfast/shared/recovery/host-step';
import { Marks } from '../warm/marks.ts';
import type { StepAnswer, StepContext, StepType } from './step-type.ts';

type Order = NonNullable<ResolvedData['restore']>;

const NEEDED_SHARE = 1.02;

export const restoreLook: StepType = {
  changes: false,
  precheck: async (_spec: HostStepSpec, context: StepContext) => await lookAt(context),
  probe: never,
  apply: never,
  verify: never,
};

/** Throws what marks and the file system have against it. */
async function lookAt(context: StepContext): Promise<StepAnswer> {
  const { order } = context;
  const { restore } = order.resolved;
  if (restore === undefined) throw new HoldfastError('INVALID_ARGUMENT', 'a restore that says nothing of its places');
  const inSandbox = order.sandbox !== '';
  const marks = new Marks(context.stateDir);
  const isKept = !inSandbox && marks.of(restore) !== undefined;
  if (restore.warm && !inSandbox) {
    const objection = marks.objection(restore, restore.places.map(fromText));
    if (objection !== undefined) throw objection;
  }
  // What is there already is only brought up to date.
  if (!isKept) checkSpace(restore, context);
  const where = restore.places.join(', ');
  return { state: 'ok', message: isKept ? `${where}: a warm copy is kept there` : `${where}: there is room for it` };
}

/** By what the newest snapshot holds, at the first place: they are rarely on several file systems. */
function checkSpace({ places, bytes }: Order, context: StepContext): void {
  const [first] = places;
  if (first === undefined) return;
  let at = context.path(first);
  while (!existsSync(at) && at !== '/') at = dirname(at);
  const { bavail, bsize } = statfsSync(at, { bigint: true });
  const free = Number(bavail * bsize);
  if (free >= bytes * NEEDED_SHARE) return;
  throw new HoldfastError(
    'FAILED_PRECONDITION',
    `${first} has ${gigabytes(free)} free, and what is restored there has ${gigabytes(bytes)}`,
    { hint: 'Make room on its file system, or give the restore step another target.' },
  );
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function never(): Promise<StepAnswer> {
  throw new HoldfastError('INVALID_ARGUMENT', 'a restore is a job of its own: only its precheck is a step');
}
