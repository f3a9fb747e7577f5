// `holdfast plan check`: without a controller what the document alone says; with one also whether its hosts and sources are there; with --live
// whether every step could work now.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { EXIT_WARNINGS } from '../jobs/summary.ts';
import type { Session } from '../session/session.ts';
import { plainText } from '../words/plain-text.ts';
import { counted } from '../words/sizes.ts';
import { findingFields, remedyLine, type FindingFields } from './finding-words.ts';
import { readDocument } from './plan-document.ts';

interface Checked {
  /** What was held against the plan: the document alone, also the fleet that the controller knows, or its hosts too. */
  readonly checked: 'document' | 'fleet' | 'hosts';
  readonly plan: string | null;
  readonly steps: number;
  readonly findings: readonly FindingFields[];
}

export async function checkDocument(session: Session, file: string, live: boolean): Promise<void> {
  const document = readDocument(session, file);
  const { checked, plan, steps, findings } = await check(session, document, live);
  const errors = findings.filter(({ level }) => level === 'error');
  if (session.json) await session.document({ checked, plan, steps, findings });
  else {
    const sound = `${file}: plan ${plan}, ${counted(steps, 'step')}: nothing is wrong with ${live ? 'it, on its hosts' : 'the document'}.\n`;
    const told = findings.map((finding) => findingLine(file, finding)).join('');
    await session.write(`${told}${errors.length === 0 && findings.every(({ level }) => level === 'ok') ? sound : ''}`);
  }
  if (errors.length > 0) {
    // What stands in the document is a usage error; what the hosts say is not.
    const code = errors.some(({ line }) => line > 0) ? 'INVALID_ARGUMENT' : 'FAILED_PRECONDITION';
    throw new HoldfastError(code, `${file} has ${counted(errors.length, 'fault')}`);
  }
  if (findings.some(({ level }) => level === 'warning')) session.exitCode = EXIT_WARNINGS;
}

async function check(session: Session, document: string, live: boolean): Promise<Checked> {
  const offline = checkPlan(document);
  const own: Checked = {
    checked: 'document',
    plan: offline.plan?.metadata.name ?? null,
    steps: offline.plan?.steps.length ?? 0,
    findings: offline.findings.map((finding) => ({ level: 'error', remedy: '', ...finding })),
  };
  if (own.findings.length > 0) return own;
  try {
    const recovery = await session.recovery();
    const answer = await recovery.checkPlan(
      { domain: await session.domain(), document, live },
      live ? {} : { signal: AbortSignal.timeout(OFFLINE_MS) },
    );
    const checked = live ? 'hosts' : 'fleet';
    return {
      checked,
      plan: answer.plan || own.plan,
      steps: answer.steps,
      findings: answer.findings.map(findingFields),
    };
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    if (live || !WITHOUT.has(error.code)) throw error;
    session.remark(
      `Checked without a controller (${error.message}): whether its hosts and sources are there is not known.`,
    );
    return own;
  }
}

const OFFLINE_MS = 10_000;
/** Nobody is logged in, nobody answers, or an older controller does: the document can be checked all the same. */
const WITHOUT = new Set(['UNAUTHENTICATED', 'UNREACHABLE', 'UNSUPPORTED_VERSION', 'TIMED_OUT', 'CANCELLED']);

function findingLine(file: string, { level, field, line, column, message, remedy }: FindingFields): string {
  const where = line === 0 ? '' : `${line}:${column}: `;
  const tone = level === 'error' ? '' : `${level}: `;
  return `${file}:${where === '' ? ' ' : where}${tone}${field === '' ? '' : `${field}: `}${plainText(message)}\n${remedyLine(remedy)}`;
}
