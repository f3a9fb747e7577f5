// A blueprint: what a server is, as facts in sections, in a text that is the same for the same server.
//
// A section is one file of JSON, a fact a line, sorted by key: so the same state gives the same bytes, an unchanged section
// costs a snapshot nothing, and two dates, or two hosts, are compared fact by fact.
//
// Hazard: what is read here comes out of a snapshot, so from another machine. Sizes and shapes are checked before use.

import { HoldfastError } from '../base/errors.ts';

/** What a fact says: a text, a number, a yes or no, a list of texts, or a few named ones of these. */
export type FactValue = Scalar | readonly string[] | Readonly<Record<string, Scalar | readonly string[]>>;
type Scalar = string | number | boolean;

export type Section = ReadonlyMap<string, FactValue>;

/** In the order in which people read them. */
export const SECTIONS = [
  'system',
  'packages',
  'repositories',
  'users',
  'groups',
  'units',
  'cron',
  'mounts',
  'network',
  'firewall',
  'sysctl',
  'listening',
] as const;
export type SectionName = (typeof SECTIONS)[number];

/** Where a section stands in the snapshot. */
export function sectionPath(name: SectionName): string {
  return `${name}.json`;
}

const SECTION_MAX_BYTES = 32 * 1024 * 1024;
const FACTS_MAX = 200_000;

/** The section's bytes: UTF-8, `{`, a line for each fact sorted by key, `}`. */
export function encodeSection(section: Section): Buffer {
  const lines = Array.from(section, ([key, value]) => [key, `${JSON.stringify(key)}:${JSON.stringify(ordered(value))}`])
    .toSorted(([a], [b]) => (a! < b! ? -1 : 1))
    .map(([, line]) => line);
  return Buffer.from(`{\n${lines.join(',\n')}\n}\n`);
}

/** Throws DAMAGED for what is no section. */
export function decodeSection(bytes: Uint8Array): Section {
  if (bytes.length > SECTION_MAX_BYTES) throw damaged('it is too large');
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    throw damaged('it is no JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw damaged('it holds no facts');
  const facts = Object.entries(parsed);
  if (facts.length > FACTS_MAX) throw damaged('it holds too many facts');
  return new Map(
    facts.map(([key, value]) => {
      if (!isFactValue(value)) throw damaged(`${JSON.stringify(key.slice(0, 100))} says nothing that a fact can`);
      return [key, value];
    }),
  );
}

/** A fact that two blueprints don't share. */
export interface FactChange {
  readonly section: string;
  readonly key: string;
  readonly change: 'added' | 'removed' | 'changed';
  readonly before: FactValue | undefined;
  readonly after: FactValue | undefined;
}

/** What is different in `after`, sorted by key. */
export function diffSections(section: string, before: Section, after: Section): FactChange[] {
  const changes: FactChange[] = [];
  for (const key of [...new Set([...before.keys(), ...after.keys()])].toSorted()) {
    const old = before.get(key);
    const now = after.get(key);
    if (old === undefined) changes.push({ section, key, change: 'added', before: old, after: now });
    else if (now === undefined) changes.push({ section, key, change: 'removed', before: old, after: now });
    else if (JSON.stringify(ordered(old)) !== JSON.stringify(ordered(now)))
      changes.push({ section, key, change: 'changed', before: old, after: now });
  }
  return changes;
}

/** One line: "1.22.1-9 (held)", "uid 33, home /var/www". */
export function factText(value: FactValue): string {
  if (typeof value !== 'object') return String(value);
  if (isList(value)) return value.join(', ');
  return Object.entries(value)
    .filter(([, part]) => part !== '' && part !== false && !(isList(part) && part.length === 0))
    .map(([name, part]) => (part === true ? name : `${name} ${isList(part) ? part.join(',') : part}`))
    .join(', ');
}

function ordered(value: FactValue): FactValue {
  if (typeof value !== 'object' || isList(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function isList(value: FactValue): value is readonly string[] {
  return Array.isArray(value);
}

function isScalar(value: unknown): value is Scalar {
  return (
    typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))
  );
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((part) => typeof part === 'string');
}

function isFactValue(value: unknown): value is FactValue {
  if (isScalar(value) || isTexts(value)) return true;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((part) => isScalar(part) || isTexts(part));
}

function damaged(why: string): HoldfastError {
  return new HoldfastError('DAMAGED', `a section of a blueprint can't be read: ${why}`);
}
