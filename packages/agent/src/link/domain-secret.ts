// A domain's secret in the hands of people: making one, showing a host's, giving one to a host.
//
// Hazards: in a sealed domain the secret is all that opens its backups, and only its hosts have it. One that is replaced by another
// makes every snapshot of before unreadable here, and two hosts with different ones can't restore each other's. So a host that has one
// keeps it. And a running agent writes its identity too (a renewed certificate): it has to be stopped.
//
// It is never printed but on request, and never taken from the arguments. Tested in domain-secret.test.ts.

import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { lockFile } from '../os/file-lock.ts';
import { loadIdentity, saveIdentity, type AgentIdentity } from './identity.ts';

const SECRET_BYTES = 32;

/** Writes a new secret into a file of its own (0600), 64 hex digits. Throws ALREADY_EXISTS. */
export function makeSecretFile(path: string): void {
  try {
    writeFileSync(path, `${randomBytes(SECRET_BYTES).toString('hex')}\n`, { mode: 0o600, flag: 'wx', flush: true });
  } catch (cause) {
    const there = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new HoldfastError(there ? 'ALREADY_EXISTS' : 'SYSTEM_CALL_FAILED', `${path} can't be made`, {
      hint: there ? 'It is there already, and may hold a secret that is in use.' : '',
      cause,
    });
  }
}

/** The secret in a file; `-` is standard input. Throws USAGE, and never quotes what it read. */
export function readSecretHex(file: string): Buffer {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8').trim();
  } catch (cause) {
    throw new HoldfastError('USAGE', `the domain secret cannot be read from ${file}`, { cause });
  }
  if (!/^[0-9a-f]{64}$/i.test(text)) throw new HoldfastError('USAGE', `${file} does not hold 64 hex digits`);
  return Buffer.from(text, 'hex');
}

/** This host's, as hex. Throws FAILED_PRECONDITION when the host has none, or is not enrolled. */
export function showSecret(stateDir: string): string {
  const { domainSecret, domainName } = enrolled(stateDir);
  if (domainSecret !== undefined) return Buffer.from(domainSecret).toString('hex');
  throw new HoldfastError('FAILED_PRECONDITION', `this host does not have the secret of its domain ${domainName}`, {
    hint: 'Give it the one that its other hosts have: holdfast-agent secret set FILE',
  });
}

/** Gives the secret to an enrolled host. Throws BUSY while its agent runs, FAILED_PRECONDITION when it has another one. */
export function setSecret(stateDir: string, secret: Uint8Array): AgentIdentity {
  const lock = lockFile(join(stateDir, 'lock'));
  if (lock === undefined) {
    throw new HoldfastError('BUSY', `an agent runs with ${stateDir}`, {
      hint: 'Stop it, and start it again afterwards.',
    });
  }
  try {
    const identity = enrolled(stateDir);
    const { domainSecret } = identity;
    if (domainSecret !== undefined && !Buffer.from(domainSecret).equals(secret)) {
      throw new HoldfastError('FAILED_PRECONDITION', 'this host has another domain secret already', {
        hint: 'What it backed up opens with that one alone. To move it to another domain, enrol it with --replace.',
      });
    }
    if (domainSecret === undefined) saveIdentity(stateDir, { ...identity, domainSecret: secret });
    return identity;
  } finally {
    lock.release();
  }
}

function enrolled(stateDir: string): AgentIdentity {
  const identity = loadIdentity(stateDir);
  if (identity !== undefined) return identity;
  throw new HoldfastError('FAILED_PRECONDITION', `this host is not enrolled (${stateDir} has no identity)`, {
    hint: 'Enrol it: holdfast-agent enrol TOKEN --domain-secret-file FILE',
  });
}
