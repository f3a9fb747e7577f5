// A host's identity: who it is to the controller, and the keys that prove it. One file, replaced as a whole.
//
// Hazard: half an identity is none. A certificate without its key, or a domain secret that was lost between two writes,
// costs a new enrolment (and in a sealed domain the data). So everything is in one file, which is written beside the
// old one, synced, renamed over it, and the directory synced: a crash leaves the old file or the new one (threats 1, 2, 3).
//
// Invariants (identity.test.ts): a write that stops between any two steps leaves a file that loads; the file is 0600 and
// its directory 0700; an identity never appears in a log or an error message.

import { randomUUID } from 'node:crypto';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { makeDirectory } from '@holdfast/shared/runtime/make-directory';
import { z } from 'zod';
import { replaceFileDurably, systemFiles, type DurableFiles } from './durable-file.ts';

export interface AgentIdentity {
  readonly hostId: string;
  readonly hostName: string;
  readonly domainId: string;
  readonly domainName: string;
  readonly keyEpoch: number;
  /** 32 bytes; absent in a sealed domain until the operator handed it over. */
  readonly domainSecret: Uint8Array | undefined;
  /** Ed25519, PKCS#8 PEM: signs this host's snapshot records. */
  readonly recordKeyPem: string;
  /** ECDSA P-256, PKCS#8 PEM. */
  readonly tlsKeyPem: string;
  /** Leaf first, without the root, PEM. */
  readonly certificateChainPem: string;
  readonly caCertificatePem: string;
  /** host:port of the controller. */
  readonly controllerAddress: string;
}

/** What a host makes before it is enrolled, kept so that a repeated enrolment is the same host with the same keys. */
export interface PendingKeys {
  readonly recordKeyPem: string;
  readonly tlsKeyPem: string;
}

const IDENTITY_FILE = 'identity.json';
const PENDING_FILE = 'enrolling.json';

const identitySchema = z.strictObject({
  version: z.literal(1),
  hostId: z.string().min(1),
  hostName: z.string().min(1),
  domainId: z.string().min(1),
  domainName: z.string(),
  keyEpoch: z.int().min(0).max(0xffff),
  domainSecret: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  recordKeyPem: z.string().min(1),
  tlsKeyPem: z.string().min(1),
  certificateChainPem: z.string().min(1),
  caCertificatePem: z.string().min(1),
  controllerAddress: z.string().min(1),
});

const pendingSchema = z.strictObject({
  version: z.literal(1),
  recordKeyPem: z.string().min(1),
  tlsKeyPem: z.string().min(1),
});

/** Makes the state directory (0700), or takes away what others may do in it. */
export function prepareStateDir(stateDir: string): void {
  makeDirectory(stateDir, 0o700);
  chmodSync(stateDir, 0o700);
}

/** The identity in `stateDir`, or undefined when the host was not enrolled. Throws DAMAGED when the file cannot be understood. */
export function loadIdentity(stateDir: string): AgentIdentity | undefined {
  const stored = load(join(stateDir, IDENTITY_FILE), identitySchema);
  if (stored === undefined) return undefined;
  const { version: _version, domainSecret, ...rest } = stored;
  return { ...rest, domainSecret: domainSecret === undefined ? undefined : Buffer.from(domainSecret, 'hex') };
}

/** Durable when it returns. */
export function saveIdentity(stateDir: string, identity: AgentIdentity, files: DurableFiles = systemFiles): void {
  const { domainSecret, ...rest } = identity;
  const stored = {
    version: 1,
    ...rest,
    ...(domainSecret === undefined ? {} : { domainSecret: Buffer.from(domainSecret).toString('hex') }),
  };
  replaceFileDurably(stateDir, IDENTITY_FILE, Buffer.from(JSON.stringify(stored, undefined, 1)), randomUUID(), files);
}

export function loadPendingKeys(stateDir: string): PendingKeys | undefined {
  return load(join(stateDir, PENDING_FILE), pendingSchema);
}

export function savePendingKeys(stateDir: string, keys: PendingKeys, files: DurableFiles = systemFiles): void {
  const bytes = Buffer.from(JSON.stringify({ version: 1, ...keys }, undefined, 1));
  replaceFileDurably(stateDir, PENDING_FILE, bytes, randomUUID(), files);
}

export function forgetPendingKeys(stateDir: string, files: DurableFiles = systemFiles): void {
  files.removeIfThere(join(stateDir, PENDING_FILE));
}

function load<T>(path: string, schema: z.ZodType<T>): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new HoldfastError('SYSTEM_CALL_FAILED', `cannot read ${path}`, { cause: error });
  }
  const damaged = (): HoldfastError =>
    // Without a cause: a parser's message quotes what it read, and that is key material.
    new HoldfastError('DAMAGED', `${path} cannot be understood`, {
      hint: 'Bring the file back from a copy of this host, or remove it and enrol the host again with a new token.',
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged();
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw damaged();
  return parsed.data;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
