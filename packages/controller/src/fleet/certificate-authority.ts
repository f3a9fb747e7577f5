// The controller's own certificate authority: server certificates for itself, client certificates for hosts.
//
// Hazards: a host's certificate that would also do for the controller; a signing request that asks for more than it gets (all
// names and extensions come from here, none from the request); a lost key (wrapped in the catalog, never on disk).
//
// Invariants (certificate-authority.test.ts):
//   CA1 a host's certificate serves under no name but its own peer name (agents of its domain ask for it), and a server's is for servers only;
//   CA2 only an ECDSA P-256 request whose signature proves the key is signed, and nothing of it but the key is taken;
//   CA3 the authority's certificate has a path length of 0: nothing below it can sign.

import { createHash, randomBytes, randomUUID, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import { isIP } from 'node:net';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { CONTROLLER_NAME } from '@holdfast/shared/rpc/channel';
import { peerName } from '@holdfast/shared/rpc/peer-name';
// oxlint-disable-next-line import/no-unassigned-import -- the certificate library's container asks for it
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3650;
const SERVER_DAYS = 90;
export const HOST_CERTIFICATE_DAYS = 30;
/** Clocks of hosts may be behind: a certificate is valid from a little before it was made. */
const BACKDATE_MS = 3_600_000;
const REQUEST_MAX_BYTES = 4096;

export interface HostCertificate {
  readonly der: Buffer;
  /** SHA-256, hex */
  readonly fingerprint: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface CertificateAuthority {
  readonly certificateDer: Buffer;
  readonly certificatePem: string;
  /** SHA-256 of the certificate, hex. */
  readonly fingerprint: string;
  /** Checks the request and signs a certificate with CN = `hostId` and the host's peer name. Throws INVALID_ARGUMENT. */
  signHost(signingRequest: Uint8Array, host: { hostId: string; domainId: string }, now: Date): Promise<HostCertificate>;
  /** A new key and certificate for a server of these names and addresses; the chain ends with the authority. */
  issueServer(names: readonly string[], now: Date): Promise<{ chainPem: string; keyPem: string; notAfter: Date }>;
}

/** A new authority: the certificate, and the private key (PKCS#8 DER) to be wrapped and kept. */
export async function createAuthority(now: Date): Promise<{ certificateDer: Buffer; keyDer: Buffer }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=Holdfast controller ${randomUUID().slice(0, 8)}`,
    notBefore: new Date(now.getTime() - BACKDATE_MS),
    notAfter: new Date(now.getTime() + AUTHORITY_DAYS * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const keyDer = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { certificateDer: Buffer.from(certificate.rawData), keyDer };
}

/** The authority with this certificate and key. */
export async function openAuthority(certificateDer: Uint8Array, keyDer: Uint8Array): Promise<CertificateAuthority> {
  const certificate = new x509.X509Certificate(Buffer.from(certificateDer));
  const key = await webcrypto.subtle.importKey('pkcs8', keyDer, ALGORITHM, false, ['sign']);
  const issuer: Issuer = { certificate, key };
  return {
    certificateDer: Buffer.from(certificateDer),
    certificatePem: certificate.toString('pem'),
    fingerprint: sha256Hex(certificateDer),
    signHost: (request, host, now) => signHost(issuer, request, host, now),
    issueServer: (names, now) => issueServer(issuer, names, now),
  };
}

interface Issuer {
  readonly certificate: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

async function signHost(
  issuer: Issuer,
  request: Uint8Array,
  { hostId, domainId }: { hostId: string; domainId: string },
  now: Date,
): Promise<HostCertificate> {
  const publicKey = await checkedRequestKey(request);
  const notAfter = new Date(now.getTime() + HOST_CERTIFICATE_DAYS * DAY_MS);
  const certificate = await sign(
    issuer,
    publicKey,
    `CN=${hostId}`,
    now,
    notAfter,
    [x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth],
    [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: peerName(hostId, domainId) }])],
  );
  const der = Buffer.from(certificate.rawData);
  return { der, fingerprint: sha256Hex(der), notBefore: certificate.notBefore, notAfter: certificate.notAfter };
}

async function checkedRequestKey(request: Uint8Array): Promise<webcrypto.CryptoKey> {
  try {
    if (request.length > REQUEST_MAX_BYTES) throw new Error('too long');
    const parsed = new x509.Pkcs10CertificateRequest(Buffer.from(request));
    const key = await parsed.publicKey.export(ALGORITHM, ['verify']);
    if (!(await parsed.verify())) throw new Error('its signature is wrong');
    return key;
  } catch (cause) {
    throw new HoldfastError(
      'INVALID_ARGUMENT',
      'the signing request is not a valid PKCS#10 request for an ECDSA P-256 key',
      {
        cause,
      },
    );
  }
}

async function issueServer(
  issuer: Issuer,
  names: readonly string[],
  now: Date,
): Promise<{ chainPem: string; keyPem: string; notAfter: Date }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const notAfter = new Date(now.getTime() + SERVER_DAYS * DAY_MS);
  const alternatives = [...new Set([CONTROLLER_NAME, ...names])].map((name): x509.JsonGeneralName => ({
    type: isIP(name) === 0 ? 'dns' : 'ip',
    value: name,
  }));
  const leaf = await sign(
    issuer,
    keys.publicKey,
    `CN=${CONTROLLER_NAME}`,
    now,
    notAfter,
    [x509.ExtendedKeyUsage.serverAuth],
    [new x509.SubjectAlternativeNameExtension(alternatives)],
  );
  const keyDer = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return {
    chainPem: `${leaf.toString('pem')}\n${issuer.certificate.toString('pem')}\n`,
    keyPem: x509.PemConverter.encode(keyDer, 'PRIVATE KEY'),
    notAfter,
  };
}

async function sign(
  issuer: Issuer,
  publicKey: webcrypto.CryptoKey,
  subject: string,
  now: Date,
  notAfter: Date,
  usages: string[],
  extensions: x509.Extension[],
): Promise<x509.X509Certificate> {
  return await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject,
    issuer: issuer.certificate.subject,
    notBefore: new Date(now.getTime() - BACKDATE_MS),
    notAfter,
    publicKey,
    signingKey: issuer.key,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate),
      ...extensions,
    ],
  });
}

/** The common name (a host's id) of a certificate. */
export function subjectOf(der: Uint8Array): string {
  return /(?:^|\n)CN=(.+?)(?:\n|$)/.exec(new NodeCertificate(der).subject)?.[1] ?? '';
}

/** 127 random bits: positive, and never used twice. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
