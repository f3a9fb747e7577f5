// The services on one port, each with what stands in front of it: who calls, and what that caller may do.
//
// Hazard: a service that is added without its guards. Everything goes through `authenticate`; the operator's service through
// `authorise` as well; the services of hosts ask for a host themselves.
//
// Tested in controller.db.test.ts and permissions.db.test.ts.

import { hostname } from 'node:os';

import { ControlDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { EnrolmentDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { OperatorDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { RecoveryDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { LeanVaultDefinition } from '@holdfast/shared/rpc/vault-messages';
import { createRpcServer, type RpcServer } from '@holdfast/shared/rpc/server';
import { sleep, systemClock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { HealthDefinition, HealthServiceImpl, HealthState } from 'nice-grpc-server-health';

import { openBrowser } from '../browse/browser.ts';
import { damagedFilesOf, type DamagedFilesDeps } from '../browse/damaged-files.ts';
import { readFile } from '../browse/file-content.ts';

import type { Catalog } from '../catalog/catalog.ts';
import type { CertificateAuthority } from '../fleet/certificate-authority.ts';
import type { ControlHub } from '../fleet/control-hub.ts';
import type { FleetEvents } from '../fleet/fleet-events.ts';
import type { JobNewsDesk } from '../fleet/job-news.ts';
import { makeLoginLimiter } from '../fleet/login-limiter.ts';
import type { MasterKey } from '../fleet/master-key.ts';
import { parseEndpoint, quotaOf, type Settings } from '../settings.ts';
import type { DescribeFiles, Vault } from '../vault/contract.ts';
import { reportWarm } from '../recovery/warm/warm-rows.ts';
import { authenticate } from './authenticate.ts';
import { makeControlService } from './control-service.ts';
import { makeEnrolmentService } from './enrolment-service.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { makeOperatorService } from './operator-service.ts';
import { authorise } from './permissions.ts';
import type { RecoveryDeps } from './recovery-deps.ts';
import { makeRecoveryService } from './recovery-service.ts';
import { addReflection } from './reflection.ts';
import { vaultService } from './vault-service.ts';
import { completeVerify } from './verify-outcome.ts';

const RENEW_SERVER_CERTIFICATE_MS = 86_400_000;
const SHUTDOWN_MS = 5_000;
const FORCED_MS = 500;
const HEALTH_MS = 2_000;

export interface ServeDeps {
  readonly settings: Settings;
  readonly log: Log;
  readonly catalog: Catalog;
  readonly masterKey: MasterKey;
  readonly authority: CertificateAuthority;
  readonly events: FleetEvents;
  readonly vault: Vault;
  readonly news: JobNewsDesk;
  readonly hub: ControlHub;
  readonly recovery: RecoveryDeps;
  readonly undelivered: OperatorDeps['undelivered'];
  readonly manifests: DamagedFilesDeps;
  readonly version: string;
}

export interface Serving {
  readonly port: number;
  readonly connections: () => { anonymous: number; hosts: number };
  stop(): Promise<void>;
}

/** Binds the port and answers on it. */
export async function serve(parts: ServeDeps): Promise<Serving> {
  const { settings, log, catalog, masterKey, authority } = parts;
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
  const { manifests } = parts;
  const describeFiles = (): DescribeFiles => damagedFilesOf(manifests);
  server.add(EnrolmentDefinition, makeEnrolmentService(common));
  server.add(
    ControlDefinition,
    makeControlService({
      hub: parts.hub,
      warm: (host, report) => reportWarm(catalog.pool, host.hostId, report),
      complete: (host, jobId, outcome) =>
        completeVerify({ catalog, vault: parts.vault, describeFiles }, host.hostId, jobId, outcome),
      log: (event, fields) => log.warn(event, fields),
    }),
  );
  server.add(LeanVaultDefinition, vaultService({ vault: parts.vault, clock: systemClock }));
  server.with(authorise(catalog.pool)).add(RecoveryDefinition, makeRecoveryService(parts.recovery));
  server.with(authorise(catalog.pool)).add(
    OperatorDefinition,
    makeOperatorService({
      ...common,
      vault: parts.vault,
      news: parts.news,
      browser: (domain) => openBrowser(manifests, domain),
      fileContent: (domain, snapshotId, path, maxBytes) => readFile(manifests, domain, snapshotId, path, maxBytes),
      version: parts.version,
      quotaBytes: (domainName) => quotaOf(settings, domainName),
      undelivered: parts.undelivered,
    }),
  );
  server.add(HealthDefinition, HealthServiceImpl(health));
  if (!addReflection(server)) log.info('reflection.off', { reason: 'the .proto files are not installed' });

  parts.events.subscribe((event) => {
    if (event.kind === 'revoked') endRevoked(rpc, event.fingerprints, log);
  });
  port = await rpc.listen(server, settings.listen);
  const showHealth = (): void => health.setStatus(parts.vault.state().answers ? 'healthy' : 'unhealthy');
  showHealth();
  const watching = setInterval(showHealth, HEALTH_MS);
  watching.unref();
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
      clearInterval(watching);
      health.setStatus('unhealthy');
      await shutDown(server);
    },
  };
}

/** Lets calls end for a while, then ends them. A connection whose host has vanished ends with its last ping, for which nobody waits. */
async function shutDown(server: { shutdown(): Promise<void>; forceShutdown(): void }): Promise<void> {
  const over = new AbortController();
  const force = setTimeout(() => server.forceShutdown(), SHUTDOWN_MS);
  const gone = sleep(systemClock, SHUTDOWN_MS + FORCED_MS, over.signal);
  await Promise.race([server.shutdown(), gone]).finally(() => {
    clearTimeout(force);
    over.abort();
  });
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
