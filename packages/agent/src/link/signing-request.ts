// The keys of a host and the request that has one of them certified. The private keys never leave the host.
//
// Loaded only to enrol and to renew: the certificate library is the heaviest thing that a resting agent does not need.

import { createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto';
// oxlint-disable-next-line import/no-unassigned-import -- the certificate library's container asks for it
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import type { PendingKeys } from './identity.ts';

const ECDSA_P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A P-256 key for TLS and an Ed25519 key for snapshot records. */
export function newHostKeys(): PendingKeys {
  const record = generateKeyPairSync('ed25519');
  return { recordKeyPem: pkcs8(record.privateKey), tlsKeyPem: newTlsKey() };
}

export function newTlsKey(): string {
  return pkcs8(generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey);
}

function pkcs8(key: { export(options: { type: 'pkcs8'; format: 'pem' }): string | Buffer }): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** PKCS#10, DER, signed by the key. What it says of a name is for people: the controller decides who the host is. */
export async function signingRequest(tlsKeyPem: string, commonName: string): Promise<Buffer> {
  x509.cryptoProvider.set(webcrypto);
  const der = Buffer.from(tlsKeyPem.replace(/-----[^-]+-----/g, ''), 'base64');
  const privateKey = await webcrypto.subtle.importKey('pkcs8', der, ECDSA_P256, false, ['sign']);
  const spki = createPublicKey(tlsKeyPem).export({ type: 'spki', format: 'der' });
  const publicKey = await webcrypto.subtle.importKey('spki', spki, ECDSA_P256, true, ['verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: new x509.Name([{ CN: [commonName] }]),
    keys: { privateKey, publicKey },
    signingAlgorithm: ECDSA_P256,
  });
  return Buffer.from(request.rawData);
}

/** The 32 raw bytes of the Ed25519 public key. */
export function recordPublicKey(recordKeyPem: string): Buffer {
  const jwk = createPublicKey(recordKeyPem).export({ format: 'jwk' });
  return Buffer.from(jwk.x ?? '', 'base64url');
}
