// Where the controllers are and as whom to speak to them: ~/.config/holdfast/context.json.
//
// Hazard: the file holds a token. It is written 0600 through a new file and a rename, so that it is never readable by
// others and never half there, and a file that others can read is refused, as ssh refuses such a key.

import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';

export interface Context {
  /** HOST:PORT */
  readonly address: string;
  /** Certificate of the controller's authority, PEM. */
  readonly ca: string;
  readonly operator: string;
  readonly token: string;
  /** 0: unknown. */
  readonly expiresAtMs: number;
  /** Used where the operator has several domains; empty: the only one. */
  readonly domain: string;
}

export interface ContextFile {
  /** Name of the context in use; empty when there is none. */
  readonly current: string;
  readonly contexts: Readonly<Record<string, Context>>;
}

const EMPTY: ContextFile = { current: '', contexts: {} };

/** What the file holds; a missing file is an empty one. Throws NOT_ALLOWED when others can read it, FAILED_PRECONDITION when it is no context file. */
export function readContextFile(path: string): ContextFile {
  let text: string;
  try {
    const mode = statSync(path).mode;
    if ((mode & 0o077) !== 0) {
      throw new HoldfastError('NOT_ALLOWED', `${path} holds a token and can be read by others`, {
        hint: `Run: chmod 600 ${path}`,
      });
    }
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return EMPTY;
    throw error;
  }
  return parseContextFile(text, path);
}

/** For a name that no context has; near names are in the hint. */
export function unknownContext(name: string, contexts: ContextFile['contexts']): HoldfastError {
  const near = didYouMean(nearNames(name, Object.keys(contexts)));
  return new HoldfastError('NOT_FOUND', `there is no context "${name}"`, {
    hint: near || 'See: holdfast context ls',
  });
}

export function writeContextFile(path: string, file: ContextFile): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.new`;
  try {
    writeFileSync(temporary, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function parseContextFile(text: string, path: string): ContextFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged(path);
  }
  if (!isRecord(value) || typeof value['current'] !== 'string' || !isRecord(value['contexts'])) throw damaged(path);
  const contexts: Record<string, Context> = {};
  for (const [name, entry] of Object.entries(value['contexts'])) {
    if (!isRecord(entry)) throw damaged(path);
    contexts[name] = {
      address: textOf(entry['address']),
      ca: textOf(entry['ca']),
      operator: textOf(entry['operator']),
      token: textOf(entry['token']),
      expiresAtMs: typeof entry['expiresAtMs'] === 'number' ? entry['expiresAtMs'] : 0,
      domain: textOf(entry['domain']),
    };
  }
  return { current: value['current'], contexts };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function damaged(path: string): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', `${path} is not a context file`, {
    hint: `Remove it and log in again: holdfast login HOST:PORT`,
  });
}
