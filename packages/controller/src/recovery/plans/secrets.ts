// Secrets of a domain that its plans name: wrapped by the master key in the catalog, unwrapped for a host and a step that need them.
//
// Hazard: a password that can be read back. No call returns one; a step's gets into the message that goes to its host, when it goes,
// and never into a row.
//
// Tested in api/recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';

import type { MasterKey } from '../../fleet/master-key.ts';
import type { Queryable } from './plan-store.ts';

const NAME = /^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/;
const VALUE_MAX_BYTES = 64 * 1024;
const SECRETS_MAX = 1_000;

/** An empty value removes it. Throws INVALID_ARGUMENT, LIMIT_EXCEEDED. */
export async function setSecret(
  client: Queryable,
  key: MasterKey,
  secret: { readonly domainId: string; readonly name: string; readonly value: Uint8Array },
): Promise<void> {
  const { domainId, name, value } = secret;
  if (!NAME.test(name)) throw new HoldfastError('INVALID_ARGUMENT', 'that is not a name for a secret');
  if (value.length > VALUE_MAX_BYTES) throw new HoldfastError('INVALID_ARGUMENT', 'a secret has at most 64 KiB');
  if (value.length === 0) {
    await client.query('delete from plan_secret where domain_id = $1 and name = $2', [domainId, name]);
    return;
  }
  const { rows } = await client.query<{ n: number }>(
    'select count(*) as n from plan_secret where domain_id = $1 and name <> $2',
    [domainId, name],
  );
  if ((rows[0]?.n ?? 0) >= SECRETS_MAX)
    throw new HoldfastError('LIMIT_EXCEEDED', `a domain has at most ${SECRETS_MAX} secrets`);
  await client.query(
    `insert into plan_secret (domain_id, name, wrapped) values ($1, $2, $3)
     on conflict (domain_id, name) do update set wrapped = excluded.wrapped, set_at = now()`,
    [domainId, name, key.wrap(wrapName(domainId, name), value)],
  );
}

/** Those of these names that there are. Throws FAILED_PRECONDITION when the master key does not open one. */
export async function readSecrets(
  client: Queryable,
  key: MasterKey,
  domainId: string,
  names: readonly string[],
): Promise<Map<string, Buffer>> {
  if (names.length === 0) return new Map();
  const { rows } = await client.query<{ name: string; wrapped: Buffer }>(
    'select name, wrapped from plan_secret where domain_id = $1 and name = any($2)',
    [domainId, names],
  );
  return new Map(rows.map(({ name, wrapped }) => [name, key.unwrap(wrapName(domainId, name), wrapped)]));
}

/** Names that have no value. */
export async function missingSecrets(client: Queryable, domainId: string, names: readonly string[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    'select name from plan_secret where domain_id = $1 and name = any($2)',
    [domainId, names],
  );
  const there = new Set(rows.map((row) => row.name));
  return names.filter((name) => !there.has(name));
}

/** All that the plan can need. */
export function secretsOfPlan(plan: Plan): string[] {
  const ofContacts = Object.values(plan.contacts).flatMap(({ webhook }) => webhook?.secret ?? []);
  return [...new Set([...plan.secrets, ...ofContacts, ...plan.steps.flatMap((step) => secretsOfVia(step))])];
}

/** What a step gets: what it names; programs that a plan runs get all that the plan declares. */
export function secretsOfStep(step: HostStepSpec, plan: Plan): string[] {
  if (step.type === 'command' || step.type === 'check.command') return [...plan.secrets];
  return secretsOfVia(step);
}

function secretsOfVia(step: HostStepSpec): string[] {
  if (step.type !== 'traffic') return [];
  return step.via.flatMap((via) => {
    if ('dns' in via) return via.dns.key ?? [];
    return 'webhook' in via ? (via.webhook.secret ?? []) : [];
  });
}

function wrapName(domainId: string, name: string): string {
  return `plan-secret/${domainId}/${name}`;
}
