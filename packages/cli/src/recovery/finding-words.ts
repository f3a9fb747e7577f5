// What was found about a plan: for people, and for programs.

import type { PlanFinding } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { plainText } from '../words/plain-text.ts';

export interface FindingFields {
  readonly level: string;
  /** A field of the document, a step, a host. */
  readonly field: string;
  /** 0: of no line. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly remedy: string;
}

export function findingFields({ level, subject, line, column, message, remedy }: PlanFinding): FindingFields {
  return { level, field: subject, line, column, message, remedy };
}

export function remedyLine(remedy: string): string {
  return remedy === '' ? '' : `   ${plainText(remedy)}\n`;
}

/** Readiness, worst first; what is well only when `all`. */
export function factLines(facts: readonly PlanFinding[], all: boolean): string {
  const marks: Readonly<Record<string, string>> = { error: '!!', warning: ' !', ok: ' ✓' };
  return facts
    .filter(({ level }) => all || level !== 'ok')
    .map(
      ({ level, subject, message, remedy }) =>
        `${marks[level] ?? '  '} ${subject}: ${plainText(message)}\n${remedyLine(remedy)}`,
    )
    .join('');
}
