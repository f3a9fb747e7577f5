// A whole controller in this process, on a database of its own, and hosts that enrol with it: for tests of what crosses TLS.

// The library for certificates asks for it when it is loaded as CommonJS, as mocha does.
// oxlint-disable-next-line import/no-unassigned-import
import 'reflect-metadata';
import { createPrivateKey, generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createRpcClient, openChannel, type ChannelTarget } from '@holdfast/shared/rpc/channel';
import { decodeEnrolmentToken } from '@holdfast/shared/rpc/enrolment-token';
import { ControlDefinition, type ControlClient } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { EnrolmentDefinition, type EnrolResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { OperatorDefinition, type OperatorClient } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { silentLog } from '@holdfast/shared/runtime/log';
import * as x509 from '@peculiar/x509';
import type pg from 'pg';

import { startController, type Controller } from '../controller.ts';
import { settingsSchema } from '../settings.ts';
import { createTestDatabase } from './test-catalog.ts';

export interface TestHost {
  readonly enrolled: EnrolResponse;
  readonly target: ChannelTarget;
}

export interface TestController {
  readonly controller: Controller;
  readonly address: string;
  readonly caPem: string;
  readonly ownerToken: string;
  readonly database: pg.ClientConfig;
  /** A client with this token; without one, of nobody. */
  operator(token?: string): OperatorClient;
  readonly owner: OperatorClient;
  enrolHost(name: string, domain?: string): Promise<TestHost>;
  control(host: TestHost): ControlClient;
  /** Closed with the rest. */
  track(target: ChannelTarget): ReturnType<typeof openChannel>;
  close(): Promise<void>;
}

export async function startTestController(): Promise<TestController> {
  const data = mkdtempSync(join(tmpdir(), 'holdfast-test-controller-'));
  const database = await createTestDatabase();
  const { user, password, host, port, database: name } = database;
  const databaseUrl = `postgresql://${user}:${String(password)}@localhost:${port}/${name}?host=${encodeURIComponent(host ?? '')}`;
  const controller = await startController({
    settings: settingsSchema.parse({ data, listen: '127.0.0.1:0' }),
    databaseUrl,
    masterKey: randomBytes(32),
    log: silentLog,
  });
  const address = `127.0.0.1:${controller.port}`;
  const caPem = readFileSync(join(data, 'ca.pem'), 'utf8');
  const ownerToken = readFileSync(join(data, 'admin-token'), 'utf8').trim();
  const channels: ReturnType<typeof openChannel>[] = [];
  const track = (target: ChannelTarget): ReturnType<typeof openChannel> => {
    const channel = openChannel(target);
    channels.push(channel);
    return channel;
  };
  const anonymous = track({ address, caCertificatePem: caPem });
  const operator = (token?: string): OperatorClient =>
    createRpcClient(OperatorDefinition, anonymous, token === undefined ? {} : { bearerToken: token });
  const owner = operator(ownerToken);
  return {
    controller,
    address,
    caPem,
    ownerToken,
    database,
    operator,
    owner,
    track,
    control: (enrolled) => createRpcClient(ControlDefinition, track(enrolled.target)),
    async enrolHost(hostName, domain = 'default') {
      const { token } = await owner.addHost({ domain, name: hostName, replace: false });
      const keys = await makeSigningRequest(hostName);
      const enrolled = await createRpcClient(EnrolmentDefinition, anonymous).enrol({
        tokenSecret: Buffer.from(decodeEnrolmentToken(token).secret),
        signingRequest: keys.request,
        recordKey: recordKey(),
        facts: { hostname: hostName, machineId: hostName, agentVersion: 'test', os: 'test' },
      });
      const chainPem = pemOf(enrolled.certificateChain[0] ?? Buffer.alloc(0));
      return {
        enrolled,
        target: { address, caCertificatePem: caPem, clientCertificate: { chainPem, keyPem: keys.keyPem } },
      };
    },
    async close() {
      for (const channel of channels) channel.close();
      await controller.stop();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** An ECDSA P-256 key and a PKCS#10 request for it, DER. */
export async function makeSigningRequest(name: string): Promise<{ request: Buffer; keyPem: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: algorithm,
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const keyPem = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' });
  return { request: Buffer.from(request.rawData), keyPem: String(keyPem) };
}

/** A raw Ed25519 public key. */
export function recordKey(): Buffer {
  return generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
}

export function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

/** The code of the error that a promise is rejected with; 'none' when it is not. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
