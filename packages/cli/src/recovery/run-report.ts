// `holdfast run report`: the evidence of a run, and whether a report that somebody shows is what the controller signed.
//
// Hazard: a forged report that carries its forger's key. So a check says whose key it is: the one that is named by its fingerprint, or the
// controller's that one is logged in to; and without either it says that nobody vouched for the key.

import { readFileSync } from 'node:fs';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { reportHtml } from '@holdfast/shared/recovery/report-html';
import { reportMarkdown } from '@holdfast/shared/recovery/report-markdown';
import {
  isSigned,
  keyFingerprint,
  keyPem,
  parseReportDocument,
  reportDocument,
  type SignedReport,
} from '@holdfast/shared/recovery/report-signature';
import { decodeReport } from '@holdfast/shared/recovery/report';
import { EXIT_WARNINGS } from '../jobs/summary.ts';
import type { Session } from '../session/session.ts';

export interface ReportOptions {
  readonly html?: boolean;
  readonly markdown?: boolean;
  readonly verify?: string;
  readonly key?: string;
  readonly publicKey?: boolean;
}

export async function report(session: Session, id: string | undefined, options: ReportOptions): Promise<void> {
  if (options.verify !== undefined) return await verify(session, options.verify, options.key);
  if (options.publicKey === true) return await printKey(session);
  if (id === undefined) {
    throw new HoldfastError('USAGE', 'which run?', { hint: 'holdfast run ls; or: holdfast run report --verify FILE' });
  }
  const signed = await reportOf(session, id);
  if (signed.signature.length === 0) session.remark('The run has not ended: this report is not signed.');
  if (options.html === true) return await session.write(reportHtml(signed));
  if (session.json) return await session.write(reportDocument(signed));
  const fingerprint = signed.signature.length === 0 ? undefined : keyFingerprint(signed.publicKey);
  await session.write(reportMarkdown(decodeReport(signed.report), fingerprint));
}

/** `run` empty: the key alone. */
async function reportOf(session: Session, run: string): Promise<SignedReport> {
  const recovery = await session.recovery();
  const { report: bytes, signature, publicKey } = await recovery.getReport({ domain: await session.domain(), run });
  return { report: bytes, signature, publicKey };
}

async function printKey(session: Session): Promise<void> {
  const { publicKey } = await reportOf(session, '');
  const fingerprint = keyFingerprint(publicKey);
  if (session.json) {
    const raw = publicKey.toString('base64');
    return await session.document({ algorithm: 'Ed25519', publicKey: raw, fingerprint, pem: keyPem(publicKey) });
  }
  await session.write(`${keyPem(publicKey)}Fingerprint: ${fingerprint}\n`);
}

async function verify(session: Session, file: string, expected: string | undefined): Promise<void> {
  const text = readReport(session, file);
  const signed = parseReportDocument(text);
  if (!isSigned(signed))
    throw refused(
      file,
      signed.signature.length === 0
        ? 'it was made before the run ended, and is not signed'
        : 'its signature does not fit',
    );
  if (signed.html && reportHtml(signed) !== text) {
    throw refused(
      file,
      'what the page shows is not what was signed',
      'Take the signed report out of it: holdfast run report ID --html prints it anew.',
    );
  }
  const fingerprint = keyFingerprint(signed.publicKey);
  const trusted = expected ?? (await controllerKey(session));
  if (trusted !== undefined && trusted.toLowerCase() !== fingerprint)
    throw refused(file, `it is signed by another key, ${fingerprint}`);
  const { plan, run } = decodeReport(signed.report);
  if (session.json) {
    await session.document({
      valid: true,
      keyKnown: trusted !== undefined,
      fingerprint,
      plan: plan.name,
      run: run.id,
      state: run.state,
    });
  } else {
    const whose = expected === undefined ? 'the controller’s key' : 'the key that you named';
    await session.write(
      `${file}: ${run.mode} of ${plan.name}, run ${run.id}: as it was signed${trusted === undefined ? '' : ` with ${whose}`}.\n`,
    );
  }
  if (trusted === undefined) {
    session.exitCode = EXIT_WARNINGS;
    session.remark(
      `Nobody vouches for the key ${fingerprint}: compare it with holdfast run report --public-key, and give it with --key.`,
    );
  }
}

/** Undefined: nobody is logged in, or nobody answers. */
async function controllerKey(session: Session): Promise<string | undefined> {
  try {
    return keyFingerprint((await reportOf(session, '')).publicKey);
  } catch (thrown) {
    const { code } = toHoldfastError(thrown);
    if (code === 'UNAUTHENTICATED' || code === 'UNREACHABLE' || code === 'UNSUPPORTED_VERSION') return undefined;
    throw thrown;
  }
}

const REPORT_MAX_BYTES = 64 * 1024 * 1024;

function readReport(session: Session, file: string): string {
  try {
    const bytes = readFileSync(session.environment.resolvePath(file));
    if (bytes.length > REPORT_MAX_BYTES) throw new HoldfastError('USAGE', `${file} is too long for a report`);
    return bytes.toString('utf8');
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    throw new HoldfastError('USAGE', `${file} can't be read`, { cause });
  }
}

function refused(
  file: string,
  why: string,
  hint = 'Do not trust it: ask for the report where it was made.',
): HoldfastError {
  return new HoldfastError('DAMAGED', `${file} is not to be trusted: ${why}`, { hint });
}
