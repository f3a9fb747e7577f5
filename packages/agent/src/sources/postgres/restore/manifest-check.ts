// Holds the server's own manifest of a base against what a verification reads of it: every file of it is there, with its size and
// its checksum. What pg_verifybackup does, without a directory.
//
// Source: https://www.postgresql.org/docs/current/backup-manifest-format.html

import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fromBytes, fromText, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { z } from 'zod';
import type { JobDeps, VerifyJob } from '../../../jobs/job.ts';
import { wholeRestore } from '../../../jobs/whole-restore.ts';
import type { ContentCheck } from '../../../restore/content-check.ts';
import { runRestore } from '../../../restore/restore.ts';
import { DATA_PATH, MANIFEST_PATH, TABLESPACES_PATH } from '../base/base-facts.ts';

const schema = z.object({
  Files: z.array(
    z.object({
      Path: z.string().optional(),
      'Encoded-Path': z.string().optional(),
      Size: z.int().nonnegative(),
      'Checksum-Algorithm': z.string().optional(),
      Checksum: z.string().optional(),
    }),
  ),
});

interface ManifestFile {
  readonly path: ByteString;
  readonly sizeBytes: number;
  /** undefined: it has none that is known here. */
  readonly checksum: number | undefined;
}

export function manifestCheck(job: VerifyJob, deps: JobDeps, signal: AbortSignal): ContentCheck {
  const seen = new Map<ByteString, { readonly sizeBytes: number; readonly checksum: number }>();
  return {
    file: (path, sizeBytes, checksum) => void seen.set(path, { sizeBytes, checksum }),
    async end() {
      const files = await manifestOf(job, deps, signal);
      if (files === undefined) return [{ path: MANIFEST_PATH, message: 'it is not as the server wrote it' }];
      return files.flatMap(({ path, sizeBytes, checksum }) => {
        const found = seen.get(path);
        const message =
          found === undefined
            ? 'the base does not have it whole, and the server’s manifest names it'
            : found.sizeBytes !== sizeBytes || (checksum !== undefined && found.checksum !== checksum)
              ? 'it is not what the server’s manifest says'
              : '';
        return message === '' ? [] : [{ path, message }];
      });
    },
  };
}

/** undefined: it is damaged, in the vault or already before. Throws CANCELLED, UNREACHABLE. */
async function manifestOf(job: VerifyJob, deps: JobDeps, signal: AbortSignal): Promise<ManifestFile[] | undefined> {
  const scratch = join(deps.stateDir, `verify-${randomUUID()}`);
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  try {
    const only = { ...wholeRestore(job, scratch), paths: [MANIFEST_PATH] };
    const { failure } = await runRestore(only, deps, signal, () => undefined);
    return failure === undefined ? parseManifest(readFileSync(join(scratch, MANIFEST_PATH))) : undefined;
  } catch (error) {
    if (error instanceof HoldfastError && (error.code === 'DAMAGED' || error.code === 'NOT_FOUND')) return undefined;
    throw error;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Throws DAMAGED when it is not as the server wrote it. */
export function parseManifest(bytes: Buffer): ManifestFile[] {
  // The last line holds the checksum of all before it.
  const at = bytes.lastIndexOf('"Manifest-Checksum"');
  const stated = /"Manifest-Checksum": *"([0-9a-f]{64})"/.exec(bytes.toString('latin1', Math.max(0, at)))?.[1];
  const own = createHash('sha256')
    .update(bytes.subarray(0, Math.max(0, at)))
    .digest('hex');
  if (stated !== own) throw damaged();
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8'))).Files.map((file) => ({
      path: placeOf(
        file.Path === undefined ? fromBytes(Buffer.from(file['Encoded-Path'] ?? '', 'hex')) : fromText(file.Path),
      ),
      sizeBytes: file.Size,
      // In the byte order of the server's machine, as of every machine that it runs on today.
      checksum:
        file['Checksum-Algorithm'] === 'CRC32C' ? Buffer.from(file.Checksum ?? '', 'hex').readUInt32LE(0) : undefined,
    }));
  } catch (cause) {
    throw damaged(cause);
  }
}

/** Where the snapshot has what the server has there. */
function placeOf(path: ByteString): ByteString {
  const inTablespace = /^pg_tblspc\/(\d+\/.*)$/s.exec(path)?.[1];
  return inTablespace === undefined ? `${DATA_PATH}/${path}` : `${TABLESPACES_PATH}/${inTablespace}`;
}

function damaged(cause?: unknown): HoldfastError {
  return new HoldfastError('DAMAGED', 'the server’s manifest of the base is not as the server wrote it', { cause });
}
