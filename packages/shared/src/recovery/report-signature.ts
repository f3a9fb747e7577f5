// The signature of a recovery report, and the one file that carries both.
//
// A report document is JSON: {"report": …, "signature": {"algorithm": "Ed25519", "publicKey": base64, "value": base64}}. What is signed are
// the canonical bytes of `report` (report.ts), so that the file may be laid out anyhow. An HTML report has the same document inside.
//
// Hazard: a report that carries its own key proves only that somebody signed it. So whoever checks it must know the controller's key
// from elsewhere: by its fingerprint.
//
// Tested in report.test.ts.

import { createHash, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';

import { z } from 'zod';

import { HoldfastError } from '../base/errors.ts';
import { canonicalJson } from './report-json.ts';

export interface SignedReport {
  /** Canonical JSON. */
  readonly report: Buffer;
  readonly signature: Buffer;
  /** 32 bytes. */
  readonly publicKey: Buffer;
}

/** What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const HTML_OPENING = '<script type="application/json" id="evidence">';

export function signReport(report: Buffer, key: KeyObject): SignedReport {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return { report, signature: sign(null, report, key), publicKey: spki.subarray(SPKI_PREFIX.length) };
}

/** Whether the key that it names signed it. */
export function isSigned({ report, signature, publicKey }: SignedReport): boolean {
  if (publicKey.length !== 32) return false;
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), type: 'spki', format: 'der' });
  return verify(null, report, key, signature);
}

/** SHA-256 of the key, hex: what people compare. */
export function keyFingerprint(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex');
}

/** For openssl and others, who take no bare 32 bytes. */
export function keyPem(publicKey: Uint8Array): string {
  const der = Buffer.concat([SPKI_PREFIX, publicKey]);
  return `-----BEGIN PUBLIC KEY-----\n${der.toString('base64')}\n-----END PUBLIC KEY-----\n`;
}

export function reportDocument({ report, signature, publicKey }: SignedReport): string {
  const held = {
    algorithm: 'Ed25519',
    publicKey: publicKey.toString('base64'),
    value: signature.toString('base64'),
  };
  return `{"report":${report.toString('utf8')},"signature":${JSON.stringify(held)}}\n`;
}

/** Inside a script element nothing may look like its end. */
export function reportScript(signed: SignedReport): string {
  return `${HTML_OPENING}${reportDocument(signed).trimEnd().replaceAll('<', '\\u003c')}</script>`;
}

const documentSchema = z.object({
  report: z.record(z.string(), z.unknown()),
  signature: z.object({
    algorithm: z.literal('Ed25519'),
    publicKey: z.base64(),
    value: z.base64(),
  }),
});

/** The report in a file: JSON, or HTML that this program made. Not checked yet. Throws INVALID_ARGUMENT. */
export function parseReportDocument(text: string): SignedReport & { readonly html: boolean } {
  const opening = text.indexOf(HTML_OPENING);
  const html = opening >= 0;
  const json = html ? text.slice(opening + HTML_OPENING.length).split('</script>', 1)[0]! : text;
  try {
    const { report, signature } = documentSchema.parse(JSON.parse(json));
    return {
      report: Buffer.from(canonicalJson(report)),
      signature: Buffer.from(signature.value, 'base64'),
      publicKey: Buffer.from(signature.publicKey, 'base64'),
      html,
    };
  } catch (cause) {
    throw new HoldfastError('INVALID_ARGUMENT', 'this is no recovery report', {
      hint: 'A report is what `holdfast run report ID --json` or `--html` prints.',
      cause,
    });
  }
}
