// The local way out: a person makes this host serve an application, whatever controller and standby say.
//
// Hazard: with it two hosts may serve. So it is one application by name, it raises the epoch above all that this host knows of (the
// controller sees the claim and pages), and the record keeps when it was done.
//
// Tested in application-host.test.ts.

import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { replaceFileDurably } from '../../link/durable-file.ts';
import { knownApplications, RecordFiles } from './record-file.ts';

export const FORCE_FILE = 'force';

/** Leaves the order for the agent of this host, which takes it when it runs. Throws NOT_FOUND with what there is, DAMAGED. */
export function forceServing(stateDir: string, plan: string, nowMs: number): void {
  const known = knownApplications(stateDir).flatMap((id) => {
    const files = new RecordFiles(stateDir, id);
    const spec = files.loadSpec();
    return spec === undefined ? [] : [{ files, plan: spec.plan, id }];
  });
  const found = known.find((one) => one.plan === plan || one.id === plan);
  if (found === undefined) {
    const names = known.map((one) => one.plan).join(', ');
    throw new HoldfastError('NOT_FOUND', `this host is part of no application ${JSON.stringify(plan)}`, {
      hint: names === '' ? 'It is part of none.' : `It is part of: ${names}`,
    });
  }
  const who = `${new Date(nowMs).toISOString()} by ${userInfo().username}`;
  replaceFileDurably(found.files.directory, FORCE_FILE, Buffer.from(`${who}\n`), randomUUID());
}
