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
  const free = freeFor(restore, context);
  const needed = gigabytes(restore.bytes);
  // What is there already is only brought up to date.
  if (!isKept && free < restore.bytes * NEEDED_SHARE) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `${restore.places[0]} has ${gigabytes(free)} free, and what is restored there has ${needed}`,
      { hint: 'Make room on its file system, or give the restore step another target.' },
    );
  }
  const where = restore.places.join(', ');
  const message = isKept ? 'a warm copy is kept there' : `there is room for ${needed}`;
  return {
    state: 'ok',
    message: free === Infinity ? `${where}: ${message}` : `${where}: ${message}, ${gigabytes(free)} free`,
  };
}

/** Bytes at the first place: they are rarely on several file systems. */
function freeFor({ places }: Order, context: StepContext): number {
  const [first] = places;
  if (first === undefined) return Infinity;
  let at = context.path(first);
  while (!existsSync(at) && at !== '/') at = dirname(at);
  const { bavail, bsize } = statfsSync(at, { bigint: true });
  return Number(bavail * bsize);
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function never(): Promise<StepAnswer> {
  throw new HoldfastError('INVALID_ARGUMENT', 'a restore is a job of its own: only its precheck is a step');
}
