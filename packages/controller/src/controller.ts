// The controller, put together: catalog → keys and authority → vault → services on one port. Stopped in the reverse order.
//
// Hazard: serving before everything that serving stands on is there, or letting go of the catalog while streams still write
// to it. The order below is the only order.
//
// Tested in api/controller.db.test.ts.

import { randomUUID } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys, SYSTEM_DOMAIN_ID } from '@holdfast/shared/format/keys';
import type { FailoverTiming } from '@holdfast/shared/failover/timing';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { collectLessOften, ROOMY_PACE } from '@holdfast/shared/runtime/collections';
import type { Log } from '@holdfast/shared/runtime/log';
import { makeDirectory } from '@holdfast/shared/runtime/make-directory';

import { serveHttp } from './api/http.ts';
import { makeMetrics } from './api/metrics.ts';
import { completeStepJob } from './api/recovery-send.ts';
import { serve, type Serving } from './api/serve.ts';
import type { DamagedFilesDeps } from './browse/damaged-files.ts';
import { openCatalog, type Catalog } from './catalog/catalog.ts';
import type { CertificateAuthority } from './fleet/certificate-authority.ts';
import { openControlHub } from './fleet/control-hub.ts';
import { prepareFleet } from './fleet/first-start.ts';
import { openFleetEvents } from './fleet/fleet-events.ts';
import { openJobNewsDesk } from './fleet/job-news.ts';
import { masterKeyFrom, readOrCreateMasterKey, type MasterKey } from './fleet/master-key.ts';
import { describeSource } from './api/source-identity.ts';
import { domainSecret, listDomains } from './fleet/domains.ts';
import { peerAddressesOf } from './fleet/hosts.ts';
import type { Failover } from './recovery/contract.ts';
import { failoverDesk, failoverLink } from './api/failover-link.ts';
import { openFailover } from './recovery/failover/failover.ts';
import { appliedPlans } from './recovery/plans/plan-store.ts';
import { openRecovery } from './recovery-parts.ts';
import { parseEndpoint, quotaOf, type Settings } from './settings.ts';
import type { Vault } from './vault/contract.ts';
import { openLocalDirectory } from './vault/local-directory.ts';
import { openVault } from './vault/vault.ts';

export const VERSION = '0.1.0';

export interface ControllerOptions {
  readonly settings: Settings;
  readonly databaseUrl: string | undefined;
  /** 32 bytes; undefined: from the data directory's file. */
  readonly masterKey: Uint8Array | undefined;
  readonly log: Log;
  /** Other durations of failover than its own: for tests. */
  readonly failoverTiming?: FailoverTiming;
}

export interface Controller {
  readonly port: number;
  readonly metricsPort: number;
  /** Who serves each application. */
  readonly failover: Failover;
  /** Ends streams in good order, seals packs, stops the embedded PostgreSQL. Safe to call twice. */
  stop(): Promise<void>;
}

/** Files in the data directory that others may read or wait for. */
export const FILES = { ready: 'ready.json', ca: 'ca.pem', ownerToken: 'admin-token', masterKey: 'master-key' } as const;

/** Everything below the services: what `serve`, `recovery-sheet` and `rebuild` have in common. */
export interface Foundation {
  readonly catalog: Catalog;
  readonly masterKey: MasterKey;
  readonly authority: CertificateAuthority;
}

/** Opens the catalog and what the first start makes. The caller closes the catalog. `beside`: another controller may run on it. */
export async function openFoundation(options: ControllerOptions, beside = false): Promise<Foundation> {
  const { data } = options.settings;
  makeDirectory(data, 0o755);
  const masterKey = masterKeyFrom(options.masterKey ?? readOrCreateMasterKey(join(data, FILES.masterKey)));
  const catalog = await openCatalog({
    directory: data,
    stopAdopted: !beside,
    onError: (error) => options.log.warn('catalog.connection-lost', { error }),
    ...(options.databaseUrl === undefined ? {} : { databaseUrl: options.databaseUrl }),
  });
  try {
    const saveToken = (token: string): void => replaceFile(join(data, FILES.ownerToken), `${token}\n`, 0o600);
    const { authority } = await prepareFleet(catalog, masterKey, saveToken);
    replaceFile(join(data, FILES.ca), authority.certificatePem + '\n', 0o644);
    return { catalog, masterKey, authority };
  } catch (error) {
    await catalog.close();
    throw error;
  }
}

export async function startController(options: ControllerOptions): Promise<Controller> {
  const { settings, log } = options;
  collectLessOften(ROOMY_PACE);
  rmSync(join(settings.data, FILES.ready), { force: true });
  // This process, as rows name who drives them: a name that was used before would make its amnesia look like knowledge.
  const replica = randomUUID();
  // In the order of starting; stopped from the end.
  const started: (() => Promise<void>)[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= stopAll(started, log));
  try {
    const foundation = await openFoundation(options);
    started.push(() => foundation.catalog.close());
    const events = await openFleetEvents(foundation.catalog);
    started.push(() => events.close());
    const vault = await startVault(options, foundation);
    started.push(() => vault.stop());
    const news = openJobNewsDesk(foundation.catalog.pool, events);
    const hub = openControlHub({
      catalog: foundation.catalog,
      events,
      news,
      log: (event, fields) => log.info(event, fields),
      completeStep: (job) => completeStepJob(foundation, job),
    });
    // It stops last of these, and starts last: whoever calls finds all of it.
    let serving: Serving | undefined;
    started.push(async () => serving?.stop());
    started.push(() => hub.stop());
    const failover = await openFailover({
      catalog: foundation.catalog,
      events,
      clock: systemClock,
      replica,
      link: failoverLink(hub),
      plans: () => appliedPlans(foundation.catalog.pool, (plan, name) => log.error('plan.unreadable', { plan, name })),
      peersOf: (hostId) => peerAddressesOf(foundation.catalog.pool, hostId),
      tellHosts: (hostIds) => hub.tellApplications(hostIds),
      log: (event, fields) => log.info(event, fields),
      ...(options.failoverTiming === undefined ? {} : { timing: options.failoverTiming }),
    });
    started.push(() => failover.stop());
    hub.attach(failoverDesk(failover));
    const manifests = manifestsOf(foundation, vault);
    const recovery = await openRecovery({
      ...foundation,
      settings,
      log,
      events,
      vault,
      failover,
      manifests,
      replica,
      version: VERSION,
    });
    started.push(() => recovery.stop());
    serving = await serve({
      ...foundation,
      settings,
      log,
      events,
      vault,
      news,
      hub,
      recovery: recovery.service,
      undelivered: (domainId) => recovery.notifier.attention(domainId),
      manifests,
      version: VERSION,
    });
    const { port, connections } = serving;

    const registry = makeMetrics({
      catalog: foundation.catalog,
      connections,
      connectedHosts: () => hub.count(),
      vaultState: () => vault.state(),
    });
    const http = await serveHttp(parseEndpoint(settings.metrics), registry, async () => {
      await foundation.catalog.pool.query('select 1');
      const { answers, trouble } = vault.state();
      if (!answers) throw new HoldfastError('STORAGE_FAILED', trouble);
    });
    started.push(() => http.close());
    const ready = { pid: process.pid, port, metricsPort: http.port, caFingerprint: foundation.authority.fingerprint };
    replaceFile(join(settings.data, FILES.ready), `${JSON.stringify(ready)}\n`, 0o644);
    started.push(async () => rmSync(join(settings.data, FILES.ready), { force: true }));
    return { port, metricsPort: http.port, failover, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What is read of snapshots, of managed domains. */
function manifestsOf({ catalog, masterKey }: Foundation, vault: Vault): DamagedFilesDeps {
  return {
    vault,
    secretOf: (domainId) => domainSecret(catalog.pool, masterKey, domainId),
    domain: async (id) => (await listDomains(catalog.pool)).find((domain) => domain.id === id),
  };
}

async function stopAll(started: (() => Promise<void>)[], log: Log): Promise<void> {
  for (const stop of started.toReversed()) {
    await stop().catch((error: unknown) => log.error('controller.stop-failed', { error }));
  }
}

/** The reserved domain of the controller's own records: its keys come from the master key alone, so that a rebuild has them. */
export function systemKeysOf(masterKey: MasterKey): ReturnType<typeof deriveDomainKeys> {
  return deriveDomainKeys(masterKey.derive('system domain'), SYSTEM_DOMAIN_ID, 0);
}

export function vaultDirectory(settings: Settings): string {
  return settings.vault ?? join(settings.data, 'vault');
}

async function startVault(options: ControllerOptions, { catalog, masterKey }: Foundation): Promise<Vault> {
  const directory = vaultDirectory(options.settings);
  makeDirectory(directory, 0o700);
  return await openVault({
    catalog,
    storage: await openLocalDirectory(directory),
    clock: systemClock,
    log: (event, fields) => options.log.info(event, fields),
    systemKeys: systemKeysOf(masterKey),
    grantKey: masterKey.derive('grants'),
    describeSource: (sourceId) => describeSource(catalog.pool, sourceId),
    soleWriter: options.databaseUrl === undefined,
    reserveBytes: options.settings.reserve,
    quotaBytes: async (domainId) => {
      const domain = (await listDomains(catalog.pool)).find(({ id }) => id === domainId);
      return domain === undefined ? 0 : quotaOf(options.settings, domain.name);
    },
  });
}

/** A reader finds the old file or the new one, never half of one. */
function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { mode, flag: 'wx', flush: true });
  renameSync(temporary, path);
}
