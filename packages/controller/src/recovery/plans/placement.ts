// A plan against the fleet: are its hosts, sources and secrets there, and the plans that it depends on?
//
// Hazard: a plan for hosts of somebody else. Everything is looked up in the plan's domain alone; another domain's host looks like none.
//
// Tested in api/recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { ungatedServers } from '@holdfast/shared/recovery/protection';
import { parsePlan, type FieldPath, type Finding, type Plan } from '@holdfast/shared/recovery/plan';

import { findHost, type Host } from '../../fleet/hosts.ts';
import { listSources } from '../../fleet/sources.ts';
import { lookUpDependencies } from './dependencies.ts';
import type { Queryable } from './plan-store.ts';
import { missingSecrets, secretsOfPlan } from './secrets.ts';

export interface PlanFinding {
  /** error: it can't be applied or run. warning: it can, with this risk. ok: looked at, and well. */
  readonly level: 'error' | 'warning' | 'ok';
  /** A field (steps[3].needs), a step, a host. */
  readonly subject: string;
  /** 0: of no line. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly remedy: string;
}

export interface PlacedPlan {
  /** Undefined when the document has no readable plan. */
  readonly plan: Plan | undefined;
  readonly findings: readonly PlanFinding[];
  /** Of the placement, in its order; only those that are enrolled. */
  readonly hosts: readonly Host[];
}

/** All that is wrong with a document, in itself and against the fleet. Never throws for what it says. */
export async function placePlan(client: Queryable, domainId: string, document: string): Promise<PlacedPlan> {
  const { plan, findings } = checkPlan(document);
  const found = findings.map((finding) => fromShared(finding));
  if (plan === undefined) return { plan, findings: found, hosts: [] };
  const { findingAt } = parsePlan(document);
  const report = (level: PlanFinding['level'], path: FieldPath, message: string, remedy = ''): void =>
    void found.push({ ...fromShared(findingAt(path, message)), level, remedy });

  const hosts = await lookUpHosts(client, domainId, plan, report);
  await lookUpSources(client, domainId, plan, report);
  await lookUpDependencies(client, domainId, plan, report);
  for (const name of await missingSecrets(client, domainId, secretsOfPlan(plan))) {
    report('warning', ['secrets'], `the secret ${name} has no value`, `holdfast plan secret set ${name}`);
  }
  if (plan.detect.mode === 'automatic') {
    for (const { step, port } of ungatedServers(plan)) {
      const risk = `port ${port} of the server that ${step} restores is not gated: a host that stood still may hand it what lay in its buffers`;
      report('warning', ['ports'], risk, `add ${port} to "ports", and let the application reach the server by TCP`);
    }
  }
  return { plan, findings: found, hosts };
}

type Report = (level: PlanFinding['level'], path: FieldPath, message: string, remedy?: string) => void;

async function lookUpHosts(client: Queryable, domainId: string, plan: Plan, report: Report): Promise<Host[]> {
  const hosts: Host[] = [];
  const lookUp = async (name: string, path: FieldPath): Promise<Host | undefined> => {
    try {
      const host = await findHost(client, domainId, name);
      if (host.state !== 'waiting' && host.state !== 'revoked') return host;
      report('error', path, `${name} is not enrolled`, `holdfast host add ${name}`);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'NOT_FOUND') throw error;
      report('error', path, error.message, error.hint);
    }
    return undefined;
  };
  for (const [index, name] of plan.placement.hosts.entries()) {
    const host = await lookUp(name, ['placement', 'hosts', index]);
    if (host !== undefined) hosts.push(host);
  }
  for (const [index, name] of (plan.detect.witnesses?.hosts ?? []).entries()) {
    const path = ['detect', 'witnesses', 'hosts', index];
    await lookUp(name, path);
    if (plan.placement.hosts.includes(name)) {
      report('error', path, `${name} is a host of the application: it can't be its own witness`);
    }
  }
  return hosts;
}

/** Each source must be there on one of both hosts: it is made on the other when that becomes the primary. */
async function lookUpSources(client: Queryable, domainId: string, plan: Plan, report: Report): Promise<void> {
  const known = (await listSources(client, domainId)).filter(({ hostName }) => plan.placement.hosts.includes(hostName));
  for (const [index, name] of plan.sources.entries()) {
    if (known.some((source) => source.name === name)) continue;
    const first = plan.placement.hosts[0] ?? '';
    report('error', ['sources', index], `there is no source ${first}/${name}`, `holdfast source add ${first}/${name}`);
  }
}

function fromShared({ line, column, field, message }: Finding): PlanFinding {
  return { level: 'error', subject: field, line, column, message, remedy: '' };
}
