// Proves that a PostgreSQL base can be brought back: every byte read and checked, also against the server's own manifest; or, as a restore test, a server brought up from it in
// a directory of its own, replayed, asked, and removed.

import { randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { EngineRestore, JobDeps, JobReport, ProgressListener, VerifyJob } from '../../../jobs/job.ts';
import { wholeRestore } from '../../../jobs/whole-restore.ts';
import type { Account } from '../../../os/account.ts';
import { runVerify } from '../../../restore/restore.ts';
import { addressOf } from '../connection.ts';
import { manifestCheck } from './manifest-check.ts';
import { restoreCluster } from './restore.ts';
import type { RestoredServer } from './server-run.ts';

/** Where the account of a server can reach it. */
const SCRATCH = '/var/tmp';
const TOOL_MS = 3_600_000;
const ANSWER_MAX = 500;

export async function runPostgresVerify(
  job: VerifyJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  return job.restoreTest === undefined
    ? runVerify(job, deps, signal, onProgress, async () => manifestCheck(job, deps, signal))
    : restoreTest(job, job.restoreTest, deps, signal, onProgress);
}

/** Nothing of it is left, however it ends. Throws what a restore throws, and DAMAGED when the server finds damage. */
async function restoreTest(
  job: VerifyJob,
  test: EngineRestore,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const directory = join(
    test.options['scratch'] ?? test.source.settings['scratch'] ?? SCRATCH,
    `holdfast-test-${randomUUID()}`,
  );
  mkdirSync(directory, { mode: 0o711 });
  chmodSync(directory, 0o711);
  const facts: Record<string, string> = {};
  let server: RestoredServer | undefined;
  try {
    const started = deps.clock.monotonicMs();
    const restored = await restoreCluster(
      wholeRestore(job, join(directory, 'data')),
      { ...test, start: true },
      deps,
      signal,
      onProgress,
      async (bin, data, account) => {
        facts['restore'] = seconds(deps.clock.monotonicMs() - started);
        Object.assign(facts, await verifyManifest(bin, data, account, signal));
      },
    );
    ({ server } = restored);
    await restored.closeLog();
    if (server === undefined || restored.report.reached === undefined) return restored.report;
    Object.assign(facts, await askServer(server, restored.bin!, test, signal));
    facts['total'] = seconds(deps.clock.monotonicMs() - started);
    return { ...restored.report, reached: { ...restored.report.reached, running: false, connect: '', facts } };
  } finally {
    await server?.stop();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The server's own manifest of the base, held against every file. */
async function verifyManifest(
  bin: string,
  dataDir: string,
  account: Account,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  if (!existsSync(join(bin, 'pg_verifybackup'))) return {};
  // What the restore itself added or changed is none of the manifest's.
  const ignored = ['postgresql.auto.conf', 'holdfast_wal', 'recovery.signal', 'tablespace_map', 'pg_tblspc'];
  const words = ['-n', '-e', ...ignored.flatMap((path) => ['-i', path]), dataDir];
  await tool(join(bin, 'pg_verifybackup'), words, account, signal);
  return { manifest: 'ok' };
}

async function askServer(
  server: RestoredServer,
  bin: string,
  test: EngineRestore,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const facts: Record<string, string> = {};
  if (existsSync(join(bin, 'pg_amcheck'))) facts['amcheck'] = await amcheck(server, bin, signal);
  const query = test.source.settings['verify-query'];
  if (query !== undefined && query !== '') {
    const [row] = await server.query(query, addressOf(test.source.settings).database).catch((cause: unknown) => {
      throw new HoldfastError(
        'DAMAGED',
        `the restored server can't answer the verify-query: ${toHoldfastError(cause).message}`,
        { cause },
      );
    });
    facts['query'] = row === undefined ? 'no rows' : Object.values(row).map(String).join(' | ').slice(0, ANSWER_MAX);
  }
  return facts;
}

/** Structure of every table and B-tree index. The extension is made in the test's own server alone. */
async function amcheck(server: RestoredServer, bin: string, signal: AbortSignal): Promise<string> {
  try {
    const words = [
      '-h',
      server.dataDir,
      '-p',
      String(server.port),
      '-U',
      server.user,
      '--all',
      '--install-missing',
      '--no-strict-names',
    ];
    await tool(join(bin, 'pg_amcheck'), words, undefined, signal);
    return 'ok';
  } catch (error) {
    const { message } = toHoldfastError(error);
    if (/could not open extension control file|is not available/.test(message)) return 'not installed';
    throw error;
  }
}

/** Throws DAMAGED with what it said. */
async function tool(
  program: string,
  words: readonly string[],
  account: Account | undefined,
  signal: AbortSignal,
): Promise<void> {
  try {
    await promisify(execFile)(program, words, {
      signal,
      timeout: TOOL_MS,
      cwd: '/',
      maxBuffer: 16 * 1024 * 1024,
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      ...(account !== undefined && process.getuid?.() === 0 ? account : {}),
    });
  } catch (cause) {
    if (signal.aborted) throw new HoldfastError('CANCELLED', 'the restore test was cancelled');
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string };
    const said = `${stderr}${stdout}`.trim().slice(0, ANSWER_MAX * 4);
    throw new HoldfastError('DAMAGED', `${program.split('/').at(-1)} found: ${said}`, { cause });
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
