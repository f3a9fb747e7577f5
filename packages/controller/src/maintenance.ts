// What the controller's program does besides serving: the recovery sheet, and the rebuild of a lost catalog.
//
// Hazard: both touch secrets or the catalog beside a controller that runs. The embedded PostgreSQL is adopted, not started
// a second time, and left running if it ran before.

import { HoldfastError } from '@holdfast/shared/base/errors';

import { specWithoutPaths } from './api/source-identity.ts';
import { openFoundation, systemKeysOf, vaultDirectory, type ControllerOptions } from './controller.ts';
import { appendAudit } from './fleet/audit.ts';
import { domainSecret, listDomains } from './fleet/domains.ts';
import { planFleet, recreateFleet, type FleetPlan } from './fleet/rebuild-fleet.ts';
import { recoverySheet, type RecoverySheet } from './fleet/recovery-sheet.ts';
import { openLocalDirectory } from './vault/local-directory.ts';
import { rebuildCatalog, type RebuildReport } from './vault/rebuild.ts';

/** The sheet as text. Throws NOT_FOUND, or FAILED_PRECONDITION for a sealed domain. */
export async function printRecoverySheet(options: ControllerOptions, name: string): Promise<string> {
  const { catalog, masterKey } = await openFoundation(options, true);
  try {
    const domain = (await listDomains(catalog.pool)).find((candidate) => candidate.name === name);
    if (domain === undefined) throw new HoldfastError('NOT_FOUND', `there is no domain ${name}`);
    const secret = await domainSecret(catalog.pool, masterKey, domain.id);
    if (secret === undefined) {
      throw new HoldfastError(
        'FAILED_PRECONDITION',
        `the controller does not have the secret of the sealed domain ${name}`,
      );
    }
    await catalog.transaction((client) =>
      appendAudit(client, { domainId: domain.id, actor: 'controller', action: 'domain.recovery-sheet', subject: name }),
    );
    return recoverySheet(domain, secret, new Date());
  } finally {
    await catalog.close();
  }
}

/**
 * Brings back what the packs and the sheets say, into an empty catalog, and says in words what was found and what is left to
 * do. Throws FAILED_PRECONDITION when the catalog is not empty, or a domain's sheet is missing; then nothing was changed.
 */
export async function rebuild(options: ControllerOptions, sheets: readonly RecoverySheet[]): Promise<string> {
  const { catalog, masterKey } = await openFoundation(options, true);
  try {
    let plan: FleetPlan = { domains: [], hosts: [], sources: [] };
    const report = await rebuildCatalog({
      catalog,
      storage: await openLocalDirectory(vaultDirectory(options.settings)),
      systemKeys: systemKeysOf(masterKey),
      admit: async (commits) => {
        plan = planFleet(commits, sheets, specWithoutPaths);
        await catalog.transaction((client) => recreateFleet(client, masterKey, plan));
      },
    });
    return `${[...foundLines(report, plan), ...leftToDo(plan)].join('\n')}\n`;
  } finally {
    await catalog.close();
  }
}

function foundLines(report: RebuildReport, plan: FleetPlan): string[] {
  const sealed = plan.domains.filter(({ secret }) => secret === undefined);
  return [
    `${report.packs} packs, ${report.objects} objects, ${report.snapshots} snapshots`,
    `${plan.domains.length} domains, ${plan.hosts.length} hosts, ${plan.sources.length} sources`,
    ...sealed.map(({ name }) => `sealed: domain ${name}, whose secret its hosts have to be given`),
    ...report.incomplete.map((id) => `incomplete: snapshot ${id}`),
    ...report.warnings.map((warning) => `warning: ${warning}`),
  ];
}

/** There is a new authority, and revocations were lost with the catalog: no old certificate or token is good. */
function leftToDo(plan: FleetPlan): string[] {
  const hostNames = new Map(plan.hosts.map(({ id, name }) => [id, name]));
  const noPaths = plan.sources.filter(({ withoutPaths, removed }) => withoutPaths && !removed);
  return [
    ...plan.hosts.map(({ name }) => `to do: enrol ${name} again: holdfast host add ${name}`),
    ...noPaths.map(
      ({ hostId, name }) =>
        `to do: ${hostNames.get(hostId)}/${name} has lost its paths: it can be restored; to back it up, remove it and add it again`,
    ),
    'to do: log in with the new admin-token and ca.pem; other operators and their tokens have to be made again',
  ];
}
