// What a check found, and what a discovery proposes: as documents and in words.

import type { DiscoveredSource, Finding } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { wrapped } from './lines.ts';

export interface FindingFields {
  /** error | warning | ok */
  readonly level: string;
  readonly subject: string;
  readonly message: string;
  /** What to run or to write, word for word; empty: nothing. */
  readonly remedy: string;
}

export function findingFields({ level, subject, message, remedy }: Finding): FindingFields {
  return { level, subject, message, remedy };
}

const MARKS: Readonly<Record<string, string>> = { error: '✘', warning: '!', ok: '✔' };
const WORST_FIRST = Object.keys(MARKS);

/** Worst first, each with its remedy below it. @param width of the terminal; without one, as wide as it gets */
export function findingWords(findings: readonly Finding[], width?: number): string {
  return findings
    .toSorted((a, b) => WORST_FIRST.indexOf(a.level) - WORST_FIRST.indexOf(b.level))
    .map(({ level, subject, message, remedy }) => {
      const lines = remedy === '' ? [] : remedy.split('\n').map((line) => `      ${line}\n`);
      return `  ${wrapped(`${MARKS[level] ?? '?'} ${subject}: ${message}`, 4, width)}\n${lines.join('')}`;
    })
    .join('');
}

export function hasErrors(findings: readonly Finding[]): boolean {
  return findings.some(({ level }) => level === 'error');
}

export function discoveredFields(found: DiscoveredSource, host: string) {
  return {
    type: found.type,
    name: found.name,
    settings: Object.fromEntries(found.settings.map(({ name, value }) => [name, value])),
    description: found.description,
    command: commandFor(found, host),
  };
}

export function discoveredWords(found: readonly DiscoveredSource[], host: string, width?: number): string {
  if (found.length === 0) return `Nothing was found on ${host} that this agent could propose.\n`;
  return found.map((one) => `${wrapped(one.description, 0, width)}\n    ${commandFor(one, host)}\n`).join('');
}

/** The agent doesn't know what people call its host. */
function commandFor({ command }: DiscoveredSource, host: string): string {
  return command.replace(/--host HOST(?= |$)/, `--host ${host}`);
}
