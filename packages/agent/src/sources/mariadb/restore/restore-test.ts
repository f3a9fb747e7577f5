// Proof that a snapshot can be brought back: read and checked, or restored for a test, asked, and removed again.
//
// Invariants (restore.db.test.ts): whatever the test finds, its directory and its server are gone afterwards.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  EngineRestore,
  JobDeps,
  JobFailure,
  JobReport,
  ProgressListener,
  Settings,
  VerifyJob,
} from '../../../jobs/job.ts';
import { wholeRestore } from '../../../jobs/whole-restore.ts';
import { runVerify } from '../../../restore/restore.ts';
import { ServerSession } from '../protocol/server-session.ts';
import { readSettings } from '../settings.ts';
import { restoreServer } from './restore.ts';
import { letServerEnter, PrivateServer } from './private-server.ts';

export async function runMariadbVerify(
  job: VerifyJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const { restoreTest: engine } = job;
  if (engine === undefined) return runVerify(job, deps, signal, onProgress);
  // Not in the agent's own directory: the server's account must be able to enter it.
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-restore-test-'));
  const directory = join(scratch, 'data');
  try {
    mkdirSync(directory);
    letServerEnter(scratch);
    const restored = await restoreServer(
      wholeRestore(job, directory),
      { ...engine, start: false },
      deps,
      signal,
      onProgress,
    );
    if (restored.failure !== undefined || restored.reached === undefined) return restored;
    const asked = await askServer(directory, engine, signal);
    const reached = { ...restored.reached, facts: { ...restored.reached.facts, ...asked.facts } };
    return { ...restored, reached, ...(asked.failure === undefined ? {} : { failure: asked.failure }) };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const TABLES_CHECKED = 1000;

async function askServer(
  directory: string,
  engine: EngineRestore,
  signal: AbortSignal,
): Promise<{ facts: Settings; failure?: JobFailure }> {
  const { verifyQuery } = readSettings(engine.source.settings);
  const extra = ['--skip-networking', '--skip-grant-tables', '--skip-log-bin', '--event-scheduler=OFF'];
  const server = await PrivateServer.start(directory, { extra, detached: false }, signal);
  try {
    const session = await ServerSession.open(
      { socket: server.socket, host: '', port: 0, user: 'root', password: '' },
      signal,
    );
    try {
      const tables = await session.query(
        `SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'
          AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1, 2 LIMIT ${TABLES_CHECKED}`,
      );
      const bad: string[] = [];
      let rows = 0;
      for (const { s, t } of tables) {
        const name = `${identifier(s ?? '')}.${identifier(t ?? '')}`;
        const said = await session.query(`CHECK TABLE ${name}`);
        if (
          said.some((row) => row['msg_type'] === 'error' || (row['msg_type'] === 'status' && row['msg_text'] !== 'OK'))
        )
          bad.push(name);
        const [counted] = await session.query(`SELECT COUNT(*) AS n FROM ${name}`);
        rows += Number(counted?.['n'] ?? 0);
      }
      const facts: Record<string, string> = {
        tables: String(tables.length),
        rows: String(rows),
        damaged: bad.join(', '),
      };
      if (bad.length > 0) return { facts, failure: damaged(`CHECK TABLE finds damage in ${bad.join(', ')}`) };
      if (verifyQuery === '') return { facts };
      const answer = await session.query(verifyQuery);
      facts['query'] = answer
        .map((row) => Object.values(row).join(' '))
        .join('; ')
        .slice(0, 1000);
      return answer.length > 0 ? { facts } : { facts, failure: damaged('the verify-query gives no rows') };
    } finally {
      session.close();
    }
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code === 'CANCELLED') throw error;
    return { facts: {}, failure: damaged(error.message) };
  } finally {
    await server.kill();
  }
}

function identifier(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

function damaged(message: string): JobFailure {
  return { code: 'DAMAGED', message, hint: 'Restore an older snapshot and compare.' };
}
