// Configuration files: YAML, parsed and validated once, with the file, the line and the key in every complaint.
//
// Hazard: a setting that is silently ignored because its name was misspelt. So schemas are strict, and a complaint points
// at the very line.
//
// Tested in config.test.ts.

import { readFileSync } from 'node:fs';

import { LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';

import { HoldfastError } from '../base/errors.ts';

/** Aliases are not used in configurations; a file of a few lines must not grow into gigabytes. */
const PARSE_OPTIONS = { maxAliasCount: 0 };
const FILE_MAX_BYTES = 1024 * 1024;

/** Reads and checks a file. Throws USAGE that names file, line and key. */
export function readConfig<Schema extends z.ZodType>(path: string, schema: Schema): z.output<Schema> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new HoldfastError('USAGE', `${path} can't be read`, { cause });
  }
  return parseConfig(text, path, schema);
}

/** @param path only for the complaints */
export function parseConfig<Schema extends z.ZodType>(text: string, path: string, schema: Schema): z.output<Schema> {
  if (text.length > FILE_MAX_BYTES) throw new HoldfastError('USAGE', `${path} is longer than any configuration`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const broken = document.errors[0];
  if (broken !== undefined) {
    throw new HoldfastError(
      'USAGE',
      `${path}:${lines.linePos(broken.pos[0]).line}: ${broken.message.split('\n')[0] ?? ''}`,
    );
  }
  const result = schema.safeParse(document.toJS(PARSE_OPTIONS) ?? {});
  if (result.success) return result.data;
  const complaints = result.error.issues.map((issue) => complain(path, document, lines, issue));
  throw new HoldfastError('USAGE', complaints.join('; '));
}

function complain(path: string, document: Document, lines: LineCounter, issue: z.core.$ZodIssue): string {
  // An unknown key is reported at the mapping that holds it; the line of the key itself says more.
  const keys = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
  const line = lineOf(document, lines, keys);
  const what = issue.code === 'unrecognized_keys' ? 'there is no such setting' : issue.message;
  return `${path}:${line}: ${keys.join('.') || 'the whole file'}: ${what}`;
}

/** Line of the deepest part of the path that the file has. */
function lineOf(document: Document, lines: LineCounter, keys: readonly PropertyKey[]): number {
  for (let depth = keys.length; depth > 0; depth--) {
    const node: unknown = document.getIn(keys.slice(0, depth), true);
    const range: unknown = typeof node === 'object' && node !== null ? Reflect.get(node, 'range') : undefined;
    if (Array.isArray(range) && typeof range[0] === 'number') return lines.linePos(range[0]).line;
  }
  return 1;
}
