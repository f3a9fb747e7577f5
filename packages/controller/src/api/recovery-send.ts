// A step's job as it goes to its host: with the secrets that it names, which its row never holds.
//
// Tested in recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { decodeHostStep } from '@holdfast/shared/recovery/host-step';

import type { Catalog } from '../catalog/catalog.ts';
import type { Job } from '../fleet/jobs.ts';
import type { MasterKey } from '../fleet/master-key.ts';
import { appliedPlan } from '../recovery/plans/plan-store.ts';
import { readSecrets, secretsOfStep } from '../recovery/plans/secrets.ts';

export interface SendDeps {
  readonly catalog: Catalog;
  readonly masterKey: MasterKey;
}

/** The message with its secrets. Throws NOT_FOUND, FAILED_PRECONDITION: then it can't be sent. */
export async function completeStepJob({ catalog, masterKey }: SendDeps, job: Job): Promise<Buffer> {
  const wire = WireJob.decode(job.request);
  if (wire.kind?.$case !== 'step') return job.request;
  const step = wire.kind.value;
  const { rows } = await catalog.pool.query<{ revision: number }>(
    'select r.revision from run r join run_job j on j.run_id = r.id where j.job_id = $1',
    [job.id],
  );
  // The check of a plan is of its newest revision, and of no run.
  const applied = await appliedPlan(catalog.pool, step.application, rows[0]?.revision).catch((error: unknown) => {
    // A document that is checked before it is applied: its steps only look, and get no secrets.
    if (step.action === 'precheck' && error instanceof HoldfastError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  });
  if (applied === undefined) return job.request;
  const { plan, domainId } = applied;
  const names = secretsOfStep(decodeHostStep(step.spec), plan);
  if (names.length === 0) return job.request;
  const values = await readSecrets(catalog.pool, masterKey, domainId, names);
  const secrets = [...values].map(([name, value]) => ({ name, value }));
  const completed = { ...wire, kind: { $case: 'step' as const, value: { ...step, secrets } } };
  return Buffer.from(WireJob.encode(completed).finish());
}
