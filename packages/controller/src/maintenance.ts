// What the controller's program does besides serving: the recovery sheet, and the rebuild of a lost catalog.
//
// Hazard: both touch secrets or the catalog beside a controller that runs. The embedded PostgreSQL is adopted, not started
// a second time, and left running if it ran before.

import { HoldfastError } from '@holdfast/shared/base/errors';

import { openFoundation, systemKeysOf, vaultDirectory, type ControllerOptions } from './controller.ts';
import { appendAudit } from './fleet/audit.ts';
import { domainSecret, listDomains, recoverySheet } from './fleet/domains.ts';
import { openLocalDirectory } from './vault/local-directory.ts';
import { rebuildCatalog } from './vault/rebuild.ts';

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

/** What was found, in words. */
export async function rebuild(options: ControllerOptions): Promise<string> {
  const { catalog, masterKey } = await openFoundation(options, true);
  try {
    const report = await rebuildCatalog({
      catalog,
      storage: await openLocalDirectory(vaultDirectory(options.settings)),
      systemKeys: systemKeysOf(masterKey),
    });
    const lines = [
      `${report.packs} packs, ${report.objects} objects, ${report.snapshots} snapshots`,
      ...report.incomplete.map((id) => `incomplete: snapshot ${id}`),
      ...report.warnings.map((warning) => `warning: ${warning}`),
    ];
    return `${lines.join('\n')}\n`;
  } finally {
    await catalog.close();
  }
}
