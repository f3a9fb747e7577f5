// The controller, put together: catalog → keys and authority → vault → services on one port. Stopped in the reverse order.
//
// Hazard: serving before everything that serving stands on is there, or letting go of the catalog while streams still write
// to it. The order below is the only order.
//
// Tested in api/controller.db.test.ts.

import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { deriveDomainKeys, SYSTEM_DOMAIN_ID } from '@holdfast/shared/format/keys';
import { ControlDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { EnrolmentDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { OperatorDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { VaultDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { createRpcServer, type RpcServer } from '@holdfast/shared/rpc/server';
import { systemClock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { HealthDefinition, HealthServiceImpl, HealthState } from 'nice-grpc-server-health';

import { authenticate } from './api/authenticate.ts';
import { makeControlService } from './api/control-service.ts';
import { makeEnrolmentService } from './api/enrolment-service.ts';
import { serveHttp } from './api/http.ts';
import { makeMetrics } from './api/metrics.ts';
import { makeOperatorService } from './api/operator-service.ts';
import { authorise } from './api/permissions.ts';
import { addReflection } from './api/reflection.ts';
import { vaultService } from './api/vault-service.ts';
import { completeVerify } from './api/verify-outcome.ts';
import { openBrowser } from './browse/browser.ts';
import { openCatalog, type Catalog } from './catalog/catalog.ts';
import type { CertificateAuthority } from './fleet/certificate-authority.ts';
import { openControlHub, type ControlHub } from './fleet/control-hub.ts';
import { prepareFleet } from './fleet/first-start.ts';
import { openFleetEvents, type FleetEvents } from './fleet/fleet-events.ts';
import { openJobNewsDesk, type JobNewsDesk } from './fleet/job-news.ts';
import { makeLoginLimiter } from './fleet/login-limiter.ts';
import { masterKeyFrom, readOrCreateMasterKey, type MasterKey } from './fleet/master-key.ts';
import { describeSource } from './api/source-identity.ts';
import { parseEndpoint, type Settings } from './settings.ts';
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
}

export interface Controller {
  readonly port: number;
  readonly metricsPort: number;
  /** Ends streams in good order, seals packs, stops the embedded PostgreSQL. Safe to call twice. */
  stop(): Promise<void>;
}

/** Files in the data directory that others may read or wait for. */
export const FILES = { ready: 'ready.json', ca: 'ca.pem', ownerToken: 'admin-token', masterKey: 'master-key' } as const;

const RENEW_SERVER_CERTIFICATE_MS = 86_400_000;
const SHUTDOWN_MS = 5_000;

/** Everything below the services: what `serve`, `recovery-sheet` and `rebuild` have in common. */
export interface Foundation {
  readonly catalog: Catalog;
  readonly masterKey: MasterKey;
  readonly authority: CertificateAuthority;
}

/** Opens the catalog and what the first start makes. The caller closes the catalog. `beside`: another controller may run on it. */
export async function openFoundation(options: ControllerOptions, beside = false): Promise<Foundation> {
  const { data } = options.settings;
  mkdirSync(data, { recursive: true, mode: 0o755 });
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
  rmSync(join(settings.data, FILES.ready), { force: true });
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
    });
    const serving = await serve(options, foundation, { events, vault, news, hub });
    started.push(() => serving.stop());
    started.push(() => hub.stop());
    const { port, connections } = serving;

    const registry = makeMetrics({ catalog: foundation.catalog, connections, connectedHosts: () => hub.count() });
    const http = await serveHttp(parseEndpoint(settings.metrics), registry, async () => {
      await foundation.catalog.pool.query('select 1');
    });
    started.push(() => http.close());
    const ready = { pid: process.pid, port, metricsPort: http.port, caFingerprint: foundation.authority.fingerprint };
    replaceFile(join(settings.data, FILES.ready), `${JSON.stringify(ready)}\n`, 0o644);
    started.push(async () => rmSync(join(settings.data, FILES.ready), { force: true }));
    return { port, metricsPort: http.port, stop };
  } catch (error) {
    await stop();
    throw error;
  }
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
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return await openVault({
    catalog,
    storage: await openLocalDirectory(directory),
    clock: systemClock,
    log: (event, fields) => options.log.info(event, fields),
    systemKeys: systemKeysOf(masterKey),
    grantKey: masterKey.derive('grants'),
    describeSource: (sourceId) => describeSource(catalog.pool, sourceId),
    soleWriter: options.databaseUrl === undefined,
  });
}

interface Parts {
  readonly events: FleetEvents;
  readonly vault: Vault;
  readonly news: JobNewsDesk;
  readonly hub: ControlHub;
}

interface Serving {
  readonly port: number;
  readonly connections: () => { anonymous: number; hosts: number };
  stop(): Promise<void>;
}

async function serve(options: ControllerOptions, foundation: Foundation, parts: Parts): Promise<Serving> {
  const { settings, log } = options;
  const { catalog, masterKey, authority } = foundation;
  const names = serverNames(settings);
  const certificate = await authority.issueServer(names, new Date());
  const rpc = createRpcServer({
    certificateChainPem: certificate.chainPem,
    privateKeyPem: certificate.keyPem,
    clientCaPem: authority.certificatePem,
    refusedConnection: (reason, address) => log.warn('connection.refused', { reason, address }),
    unexpectedError: (error, path) => log.error('call.failed', { path, error }),
  });
  const health = HealthState();
  const server = rpc.server.use(authenticate(catalog.pool));
  let port = parseEndpoint(settings.listen).port;
  const advertised = (): string => settings.advertise ?? defaultAddress(settings, port);
  const common = {
    catalog,
    authority,
    masterKey,
    events: parts.events,
    limiter: makeLoginLimiter(),
    address: advertised,
    nowMs: () => performance.now(),
  };
  server.add(EnrolmentDefinition, makeEnrolmentService(common));
  server.add(
    ControlDefinition,
    makeControlService({
      hub: parts.hub,
      complete: (host, jobId, outcome) => completeVerify({ catalog, vault: parts.vault }, host.hostId, jobId, outcome),
      log: (event, fields) => log.warn(event, fields),
    }),
  );
  server.add(VaultDefinition, vaultService({ vault: parts.vault, clock: systemClock }));
  server.with(authorise(catalog.pool)).add(
    OperatorDefinition,
    makeOperatorService({
      ...common,
      vault: parts.vault,
      news: parts.news,
      browser: (domain) => openBrowser({ pool: catalog.pool, masterKey, vault: parts.vault }, domain),
      version: VERSION,
      freeBytes: () => freeBytes(vaultDirectory(settings)),
    }),
  );
  server.add(HealthDefinition, HealthServiceImpl(health));
  if (!addReflection(server)) log.info('reflection.off', { reason: 'the .proto files are not installed' });

  parts.events.subscribe((event) => {
    if (event.kind === 'revoked') endRevoked(rpc, event.fingerprints, log);
  });
  port = await rpc.listen(server, settings.listen);
  health.setStatus('healthy');
  const renewal = setInterval(() => {
    authority.issueServer(names, new Date()).then(
      (made) => rpc.renewCertificate(made.chainPem, made.keyPem),
      (error: unknown) => log.error('certificate.renewal-failed', { error }),
    );
  }, RENEW_SERVER_CERTIFICATE_MS);
  renewal.unref();
  return {
    port,
    connections: () => rpc.connections.count(),
    async stop() {
      clearInterval(renewal);
      health.setStatus('unhealthy');
      await shutDown(server);
    },
  };
}

/** Lets calls end for a while, then ends them. */
async function shutDown(server: { shutdown(): Promise<void>; forceShutdown(): void }): Promise<void> {
  const force = setTimeout(() => server.forceShutdown(), SHUTDOWN_MS);
  await server.shutdown().finally(() => clearTimeout(force));
}

function endRevoked(rpc: RpcServer, fingerprints: readonly string[], log: Log): void {
  for (const fingerprint of fingerprints) {
    const ended = rpc.connections.end(fingerprint);
    if (ended > 0) log.info('connection.revoked', { fingerprint, connections: ended });
  }
}

function serverNames(settings: Settings): string[] {
  const listened = parseEndpoint(settings.listen).host;
  const advertised = settings.advertise === undefined ? [] : [parseEndpoint(settings.advertise).host];
  const own = isWildcard(listened) ? [hostname()] : [listened];
  return [...new Set([...own, ...advertised, ...settings.names, 'localhost', '127.0.0.1', '::1'])];
}

function defaultAddress(settings: Settings, port: number): string {
  const { host } = parseEndpoint(settings.listen);
  if (isWildcard(host)) return `${hostname()}:${port}`;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** A reader finds the old file or the new one, never half of one. */
function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { mode, flag: 'wx', flush: true });
  renameSync(temporary, path);
}
