// A certificate authority for tests: a server's chain and hosts' certificates, over real X.509.

import { createHash, randomUUID, webcrypto } from 'node:crypto';
import { CONTROLLER_NAME } from '@holdfast/shared/rpc/channel';
// oxlint-disable-next-line import/no-unassigned-import -- the certificate library's container asks for it
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;

export interface TestAuthority {
  readonly caPem: string;
  /** SHA-256, hex. */
  readonly fingerprint: string;
  readonly serverChainPem: string;
  readonly serverKeyPem: string;
  /** A certificate (DER) for the key of a PKCS#10 request: a client's, and under `peer` a server's too. */
  sign(
    signingRequest: Uint8Array,
    hostId: string,
    life?: { notBefore: Date; notAfter: Date },
    peer?: string,
  ): Promise<Buffer>;
}

export async function newTestAuthority(): Promise<TestAuthority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const life = { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=Test authority ${randomUUID()}`,
    ...life,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  const issue = (
    subject: string,
    publicKey: x509.PublicKeyType,
    usages: string[],
    when = life,
    name = CONTROLLER_NAME,
  ): Promise<x509.X509Certificate> =>
    x509.X509CertificateGenerator.create({
      subject,
      issuer: ca.subject,
      ...when,
      publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.ExtendedKeyUsageExtension(usages, true),
        new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }]),
      ],
    });
  const serverKeys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const server = await issue(`CN=${CONTROLLER_NAME}`, serverKeys.publicKey, [x509.ExtendedKeyUsage.serverAuth]);
  const serverKey = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', serverKeys.privateKey));
  return {
    caPem: `${ca.toString('pem')}\n`,
    fingerprint: createHash('sha256').update(Buffer.from(ca.rawData)).digest('hex'),
    serverChainPem: `${server.toString('pem')}\n${ca.toString('pem')}\n`,
    serverKeyPem: x509.PemConverter.encode(serverKey, 'PRIVATE KEY'),
    async sign(signingRequest, hostId, when, peer) {
      const request = new x509.Pkcs10CertificateRequest(Buffer.from(signingRequest));
      if (!(await request.verify())) throw new Error('the request is not signed by its key');
      const publicKey = await request.publicKey.export(ALGORITHM, ['verify']);
      const { clientAuth, serverAuth } = x509.ExtendedKeyUsage;
      const usages = peer === undefined ? [clientAuth] : [clientAuth, serverAuth];
      const leaf = await issue(`CN=${hostId}`, publicKey, usages, when, peer);
      return Buffer.from(leaf.rawData);
    },
  };
}
