// Ids and paths between what people type, what the wire carries and what a document holds.
//
// Hazard: a path is bytes. One that is not UTF-8 would be lost in JSON, and one with control characters would drive the
// terminal. So a document has the path as displayed, and its bytes besides wherever the two differ.

import { displayPath, fromBytes } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** Enough of an id to tell the snapshots of one source apart on a screen. */
export const SHORT_ID_LENGTH = 12;

/** The shortest beginning of an id that is taken for one. */
export const ID_PREFIX_LENGTH = 8;

export function idText(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('hex');
}

export function shortId(id: Uint8Array): string {
  return idText(id).slice(0, SHORT_ID_LENGTH);
}

const ID_PREFIX = /^[0-9a-f]{8,64}$/;

/** Whether the argument can be (the beginning of) a snapshot id, and so not `host/source`. */
export function isIdPrefix(text: string): boolean {
  return ID_PREFIX.test(text.toLowerCase());
}

/** The whole bytes of an id's beginning: an odd last digit is left to the caller's check. Throws USAGE. */
export function idPrefixBytes(text: string): Buffer {
  if (!isIdPrefix(text)) {
    throw new HoldfastError('USAGE', `"${text}" is not a snapshot id`, {
      hint: 'A snapshot id is at least 8 hexadecimal digits, as `holdfast snapshot ls HOST/SOURCE` shows them.',
    });
  }
  const digits = text.toLowerCase();
  return Buffer.from(digits.slice(0, digits.length - (digits.length % 2)), 'hex');
}

/** For people. The source's root, the empty path, shows as ".". */
export function pathText(path: Uint8Array): string {
  return path.length === 0 ? '.' : displayPath(fromBytes(path));
}

export interface PathFields {
  readonly path: string;
  /** Base64, present only when `path` does not say it all. */
  readonly pathBytes?: string;
}

/** For documents: the path as displayed, and its bytes when that display was escaped. The root is the empty path. */
export function pathFields(path: Uint8Array): PathFields {
  const bytes = Buffer.from(path.buffer, path.byteOffset, path.byteLength);
  const shown = displayPath(fromBytes(path));
  return Buffer.from(shown, 'utf8').equals(bytes)
    ? { path: shown }
    : { path: shown, pathBytes: bytes.toString('base64') };
}

/**
 * The bytes of a path that somebody typed, relative to the source's root: what a snapshot holds. The escapes that listings show (\xNN, \\)
 * are read back, so that a name can be copied from a listing. Leading and trailing slashes go. Throws USAGE on `..`.
 */
export function typedPath(text: string): Buffer {
  const bytes: Buffer[] = [];
  for (const part of text.split(/(\\x[0-9a-fA-F]{2}|\\\\)/)) {
    if (/^\\x[0-9a-fA-F]{2}$/.test(part)) bytes.push(Buffer.from(part.slice(2), 'hex'));
    else bytes.push(Buffer.from(part === '\\\\' ? '\\' : part, 'utf8'));
  }
  const components = Buffer.concat(bytes)
    .toString('latin1')
    .split('/')
    .filter((component) => component !== '' && component !== '.');
  if (components.includes('..')) {
    throw new HoldfastError('USAGE', `the path "${text}" has ".." in it`, {
      hint: 'Name a path from the root of the source.',
    });
  }
  return Buffer.from(components.join('/'), 'latin1');
}
