// Brings a MariaDB server back: into a directory that becomes its data directory, to a point of its log.
//
//     snapshot ──▶ DIR/.holdfast-restore/ ──▶ a dump: an empty server, and its statements; a copy: prepared, moved into place
//                                              └──▶ the log from the exact point on ──▶ clean shutdown ──▶ started again when asked
//
// Hazards: a directory with something in it (refused unless the job allows it; a data directory is never merged with another); a
// half-restored server that looks whole (it is started without network, and only a restore that ended well starts it for others);
// accounts that come back while statements are still to be executed (the client's connection is opened before them).
//
// Invariants (restore.db.test.ts): exactly what was committed up to the target; accounts, routines, views, triggers and events
// are there; whatever ends it, no process and no scratch file stays.

import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { displayPath, fromText, toBytes } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { runRestore } from '../../../restore/restore.ts';
import { KeyRing } from '../../../restore/key-ring.ts';
import type {
  EngineRestore,
  JobDeps,
  JobReport,
  ProgressListener,
  ReachedPoint,
  RestoreJob,
} from '../../../jobs/job.ts';
import { fromLogPosition, toLogPosition } from '../binlog/position.ts';
import { readIndex, type BaseIndex } from '../base-index.ts';
import { requireTool, runTool } from '../tools.ts';
import { replayLog, type Replayed } from './log-replay.ts';
import { giveToServer, installServer, letServerEnter, PrivateServer } from './private-server.ts';
import { StatementClient } from './statement-client.ts';

const SCRATCH = '.holdfast-restore';

/**
 * Throws FAILED_PRECONDITION (the directory is not empty, a program is missing, a statement was refused, the target lies before the
 * base), INVALID_ARGUMENT, DAMAGED, UNREACHABLE, CANCELLED.
 */
export async function restoreServer(
  job: RestoreJob,
  engine: EngineRestore,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const directory = displayPath(job.target);
  if (job.delta) {
    throw new HoldfastError('INVALID_ARGUMENT', 'a MariaDB server cannot be brought back as a delta', {
      hint: 'Restore into an empty directory, without --delta.',
    });
  }
  for (const tool of ['server', 'client', 'binlog'] as const) requireTool(tool);
  prepareDirectory(directory, job.intoNonEmpty);
  const scratch = join(directory, SCRATCH);
  try {
    const base = join(scratch, 'base');
    rmSync(scratch, { recursive: true, force: true });
    mkdirSync(base, { recursive: true, mode: 0o700 });
    chmodSync(directory, 0o700);
    letServerEnter(directory);
    const { engine: _, ...files } = job;
    const report = await runRestore(
      { ...files, target: fromText(base), intoNonEmpty: false },
      deps,
      signal,
      onProgress,
    );
    if (report.failure !== undefined) return report;
    clear(directory);
    const reached = await bringUp(
      { directory, scratch, base, engine, deps, signal, index: readIndex(base) },
      job,
      onProgress,
      report,
    );
    return { ...report, reached };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

interface BringUp {
  readonly directory: string;
  readonly scratch: string;
  readonly base: string;
  readonly engine: EngineRestore;
  readonly deps: JobDeps;
  readonly signal: AbortSignal;
  readonly index: BaseIndex;
}

async function bringUp(
  work: BringUp,
  job: RestoreJob,
  onProgress: ProgressListener,
  report: JobReport,
): Promise<ReachedPoint> {
  const { directory, base, engine, index, signal, scratch, deps } = work;
  const startedMs = deps.clock.monotonicMs();
  if (index.method === 'physical') await placeCopy(directory, base, signal);
  else await installServer(directory, signal);
  const account = letIn(directory);
  const server = await PrivateServer.start(
    directory,
    { extra: fillingOptions(index, account.initFile), detached: false },
    signal,
  );
  let replayed: Replayed;
  try {
    rmSync(account.initFile);
    const client = new StatementClient(server.socket, account.name, signal);
    try {
      // The account is gone, and the connection that is there already keeps its rights, whatever accounts come back now.
      await client.statements(`DROP USER '${account.name}'@localhost;\n`);
      await load(work, client);
      replayed = await replay(work, client, (bytes) => {
        const done = report.summary.bytesTotal + bytes;
        onProgress({ ...NOTHING_DONE, bytesDone: done, bytesTotal: done });
      });
      if (replayed.gtid !== '' && /^[\d,-]+$/.test(replayed.gtid)) {
        await client.statements(`SET GLOBAL gtid_slave_pos = '${replayed.gtid}';\n`);
      }
      await client.finish();
    } finally {
      await client.end();
    }
    await server.stop();
  } finally {
    await server.kill();
  }
  rmSync(scratch, { recursive: true, force: true });
  giveToServer(directory);
  const replayMs = Math.round(deps.clock.monotonicMs() - startedMs);
  const connect = engine.start ? await startForOthers(work, engine.port) : '';
  deps.log.info('mariadb.restored', { jobId: job.jobId, transactions: replayed.transactions, replayMs });
  return {
    stream: engine.base?.stream ?? { systemIdentifier: '', timeline: 0 },
    position: toLogPosition(replayed.position),
    lastCommitAtMs: replayed.lastCommitAtMs,
    running: engine.start,
    connect,
    replayMs,
    facts: { gtid: replayed.gtid, transactions: String(replayed.transactions), method: index.method },
  };
}

const NOTHING_DONE = {
  phase: 'restore',
  filesDone: 0,
  filesTotal: 0,
  bytesDone: 0,
  bytesTotal: 0,
  bytesNew: 0,
  bytesStored: 0,
  currentPath: '',
} as const;

/** Empty, or a server's that may be replaced. Throws FAILED_PRECONDITION. */
function prepareDirectory(directory: string, intoNonEmpty: boolean): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const held = readdirSync(directory);
  if (held.length === 0) return;
  if (!intoNonEmpty) {
    throw new HoldfastError('FAILED_PRECONDITION', `${directory} is not empty`, {
      hint: 'Name an empty directory, or say --force to replace the data directory that is there.',
    });
  }
  if (!existsSync(join(directory, 'ibdata1')) && !held.includes(SCRATCH)) {
    throw new HoldfastError('FAILED_PRECONDITION', `${directory} is neither empty nor a MariaDB data directory`, {
      hint: 'Name an empty directory.',
    });
  }
  const pid = runningPid(directory, held);
  if (pid !== undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', `a server runs on ${directory} (process ${pid})`, {
      hint: 'Stop it first.',
    });
  }
}

/** What was there makes room, once all that takes its place has been fetched. */
function clear(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name !== SCRATCH) rmSync(join(directory, name), { recursive: true, force: true });
  }
}

function runningPid(directory: string, names: readonly string[]): number | undefined {
  for (const name of names.filter((one) => one.endsWith('.pid'))) {
    const pid = Number(readFileSync(join(directory, name), 'utf8').trim());
    if (Number.isInteger(pid) && pid > 0 && existsSync(`/proc/${pid}`)) return pid;
  }
  return undefined;
}

/** A copy of files: made consistent by the program that made it, then moved to where the server looks. */
async function placeCopy(directory: string, base: string, signal: AbortSignal): Promise<void> {
  const data = join(base, 'data');
  await runTool(requireTool('backup'), ['--no-defaults', '--prepare', `--target-dir=${data}`], signal);
  for (const name of readdirSync(data)) {
    if (!name.startsWith('xtrabackup_')) renameSync(join(data, name), join(directory, name));
  }
  giveToServer(directory);
}

async function load({ base, index }: BringUp, client: StatementClient): Promise<void> {
  if (index.method !== 'logical') return;
  for (const part of index.parts) {
    const path = Buffer.concat([Buffer.from(`${base}/`), toBytes(part)]);
    await client.file(path);
    // Room for what it became.
    rmSync(path);
  }
}

async function replay(work: BringUp, client: StatementClient, onBytes: (bytes: number) => void): Promise<Replayed> {
  const { engine, index, deps, scratch, signal } = work;
  const { base, log } = engine;
  if (base === undefined || log === undefined) {
    const position = base === undefined ? { file: 'none.0', offset: 0 } : fromLogPosition(base.end);
    return { position, gtid: base?.gtid ?? '', lastCommitAtMs: 0, transactions: 0 };
  }
  const { domainSecret, domainId } = deps.identity;
  if (domainSecret === undefined)
    throw new HoldfastError('FAILED_PRECONDITION', "this host does not have its domain's secret");
  const directory = join(scratch, 'log');
  mkdirSync(directory, { mode: 0o700 });
  const session = await deps.vault.openLogRead(log.grant, { signal });
  let bytes = 0;
  try {
    return await replayLog(engine, base, Buffer.from(index.facts['formatDescription'] ?? '', 'base64'), {
      session,
      keys: new KeyRing(domainSecret, domainId),
      directory,
      signal,
      apply: (path, offset) => client.binlog(path, offset, directory),
      onBytes: (more) => onBytes((bytes += more)),
    });
  } finally {
    session.close();
  }
}

/**
 * An account for the restore alone, which the server makes when it starts: those that the data has are not ours to use. Its name
 * is nobody's guess, and nobody else enters the directory with the socket.
 */
function letIn(directory: string): { readonly name: string; readonly initFile: string } {
  const name = `holdfast_${randomBytes(12).toString('hex')}`;
  const initFile = join(directory, '.holdfast-init.sql');
  const statements = [
    `CREATE USER '${name}'@localhost;`,
    `GRANT ALL PRIVILEGES ON *.* TO '${name}'@localhost WITH GRANT OPTION;`,
  ];
  writeFileSync(initFile, `${statements.join('\n')}\n`, { mode: 0o600 });
  letServerEnter(initFile);
  return { name, initFile };
}

/** While it is filled nothing has to survive a crash, nobody is let in, and nothing runs by itself. */
function fillingOptions({ facts }: BaseIndex, initFile: string): string[] {
  return [
    ...layoutOptions(facts),
    '--skip-networking',
    `--init-file=${initFile}`,
    '--skip-log-bin',
    '--skip-slave-start',
    '--event-scheduler=OFF',
    '--innodb-flush-log-at-trx-commit=0',
    '--max-allowed-packet=1G',
    '--net-read-timeout=86400',
    '--wait-timeout=31536000',
    '--sql-mode=',
  ];
}

/** What must be as it was where the data came from. */
function layoutOptions(facts: Readonly<Record<string, string>>): string[] {
  const known: Readonly<Record<string, RegExp>> = {
    lower_case_table_names: /^[012]$/,
    character_set_server: /^\w+$/,
    collation_server: /^\w+$/,
    innodb_page_size: /^\d+$/,
    server_id: /^\d+$/,
  };
  return Object.entries(known).flatMap(([name, form]) => {
    const value = facts[name] ?? '';
    return form.test(value) ? [`--${name.replaceAll('_', '-')}=${value}`] : [];
  });
}

/** Leaves it running; answers how it is reached. */
async function startForOthers({ directory, index, signal }: BringUp, port: number): Promise<string> {
  const network = port === 0 ? ['--skip-networking'] : [`--port=${port}`, '--bind-address=127.0.0.1'];
  const extra = [...layoutOptions(index.facts), ...network, '--skip-slave-start'];
  const server = await PrivateServer.start(directory, { extra, detached: true }, signal);
  return [`socket=${server.socket}`, ...(port === 0 ? [] : ['host=127.0.0.1', `port=${port}`])].join(' ');
}
