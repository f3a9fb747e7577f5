// What a host must never forget about an application: one checksummed file, replaced as a whole and synced before anything relies on it.
//
// Hazard: an epoch that is lost, or half written, lets a host serve that was replaced. So damage is refused with words, never repaired by
// guessing, and never taken for "nothing known yet".
//
// Invariants (record-file.test.ts): RF1 a write that stops between any two steps leaves the old record or the new one; RF2 a flipped or
// missing byte is DAMAGED, not another record; RF3 no file at all is undefined.

import { createHash, randomUUID } from 'node:crypto';
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { HostRecord } from '@holdfast/shared/failover/commands';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import { makeDirectory } from '@holdfast/shared/runtime/make-directory';
import { replaceFileDurably, systemFiles, type DurableFiles } from '../../link/durable-file.ts';

export interface StoredRecord {
  readonly record: HostRecord;
  /** The epoch whose units were started by a run's steps: from then on they come back by themselves. */
  readonly activatedEpoch: number;
  /** The boot in which this host was last allowed to serve. */
  readonly servedBoot: string;
  /** When a person made it serve, by himself (wall clock, ISO): the latest ones. */
  readonly forced: readonly string[];
}

/** Who served last and goes on under a higher epoch has its units already: there is no run that brings them up. */
export function withRecord(stored: StoredRecord, record: HostRecord): StoredRecord {
  const { record: before, activatedEpoch } = stored;
  const goesOn = record.servingEpoch > before.servingEpoch && before.servingEpoch === before.highestEpoch;
  const isActivated = activatedEpoch === before.servingEpoch;
  return { ...stored, record, activatedEpoch: goesOn && isActivated ? record.servingEpoch : activatedEpoch };
}

const count = z.int().min(0);
const numbers = z.record(z.string(), count);
const recordSchema = z.strictObject({
  record: z.strictObject({
    host: z.string().min(1),
    highestEpoch: count,
    servingEpoch: count,
    standing: numbers,
    ended: numbers,
    serial: count,
    disarmed: z.boolean(),
    term: count,
    attempt: count,
    catalog: z.string(),
    retiredCatalogs: z.array(z.string()),
  }),
  activatedEpoch: count,
  servedBoot: z.string(),
  forced: z.array(z.string()),
});
const sealedSchema = z.strictObject({ sha256: z.string(), body: z.string() });

const RECORD = 'record.json';
const SPEC = 'application.json';

/** Of one application, below the agent's state directory. */
export class RecordFiles {
  readonly directory: string;
  readonly #files: DurableFiles;

  constructor(stateDir: string, application: string, files: DurableFiles = systemFiles) {
    this.directory = join(failoverDir(stateDir), application);
    this.#files = files;
  }

  /** Throws DAMAGED. */
  load(): StoredRecord | undefined {
    const value = this.#read(RECORD);
    if (value === undefined) return undefined;
    const checked = recordSchema.safeParse(value);
    if (!checked.success) throw damaged(join(this.directory, RECORD));
    return checked.data;
  }

  /** Durable when it returns. */
  save(stored: StoredRecord): void {
    this.#write(RECORD, stored);
  }

  /** What the host was told last, so that it can go on without a controller. Throws DAMAGED. */
  loadSpec(): ApplicationSpec | undefined {
    const value = this.#read(SPEC);
    if (value === undefined) return undefined;
    // Checked when it came over the wire, and its bytes are those that were written.
    const { services, ...spec } = value as Omit<ApplicationSpec, 'services'> & { services: string };
    return { ...spec, services: Buffer.from(services, 'base64') };
  }

  saveSpec(spec: ApplicationSpec): void {
    this.#write(SPEC, { ...spec, services: Buffer.from(spec.services).toString('base64') });
  }

  forget(): void {
    rmSync(this.directory, { recursive: true, force: true });
    this.#files.syncDirectory(join(this.directory, '..'));
  }

  #write(name: string, value: unknown): void {
    makeDirectory(this.directory, 0o700);
    const body = JSON.stringify(value);
    const sealed = JSON.stringify({ sha256: hash(body), body });
    replaceFileDurably(this.directory, name, Buffer.from(sealed), randomUUID(), this.#files);
    // The directory itself may be new.
    this.#files.syncDirectory(join(this.directory, '..'));
  }

  #read(name: string): unknown {
    const path = join(this.directory, name);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw new HoldfastError('SYSTEM_CALL_FAILED', `cannot read ${path}`, { cause: error });
    }
    const sealed = sealedSchema.safeParse(parsed(text));
    if (!sealed.success || sealed.data.sha256 !== hash(sealed.data.body)) throw damaged(path);
    return parsed(sealed.data.body);
  }
}

export function failoverDir(stateDir: string): string {
  return join(stateDir, 'failover');
}

/** Ids of the applications that this host keeps something of. */
export function knownApplications(stateDir: string): string[] {
  try {
    return readdirSync(failoverDir(stateDir)).filter((name) => /^[A-Za-z0-9][A-Za-z0-9-]*$/.test(name));
  } catch {
    return [];
  }
}

function hash(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function damaged(path: string): HoldfastError {
  return new HoldfastError(
    'DAMAGED',
    `${path} is damaged: what this host promised about the application is not known any more`,
    {
      hint: 'It serves and grants nothing. If it is certain that no other host serves, move the file away and start the agent again.',
    },
  );
}
