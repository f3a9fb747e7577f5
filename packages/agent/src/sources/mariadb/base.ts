// A base: the server's whole content at one point of its log. A dump by the server's own program, or, for large servers, a copy of
// its files by mariadb-backup; either way through a producer thread, and committed once the log reaches the point.
//
// Hazards: a dump torn by a change of the schema (found by the dump program, by the list of what there is before and after, and the
// whole made again, ATTEMPTS times); tables without transactions (not of the point: named in a warning); a point whose log nobody
// stores (the commit waits for the log, and the vault refuses it otherwise).
//
// Invariants (base.db.test.ts): a base and the log from its point on bring back exactly what was committed; an unchanged table
// stores nothing new.

import { createHash } from 'node:crypto';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { sleep } from '@holdfast/shared/runtime/clock';
import { runSnapshot } from '../../backup/producer/run-snapshot.ts';
import type { BackupJob, EngineSpec, JobDeps, JobReport, ProgressListener } from '../../jobs/job.ts';
import { takeBase } from '../bases/base-registry.ts';
import { toLogPosition } from './binlog/position.ts';
import { accountName, addressOf, loginOf, serverOf, toolOptions, type Login, type ServerAddress } from './dsn.ts';
import type { DumpPosition } from './dump/dump-splitter.ts';
import { readFormatDescription } from './follow/format-description.ts';
import { currentStream } from './follow/own-stream.ts';
import { storedUpTo } from './follow/stored-progress.ts';
import { ServerSession } from './protocol/server-session.ts';
import {
  contentBytes,
  isMariaDb,
  momentOf,
  nonTransactionalTables,
  serverClockMs,
  variablesOf,
} from './server-facts.ts';
import { readSettings } from './settings.ts';
import { findTool, requireTool } from './tools.ts';

const ATTEMPTS = 4;
const PAUSE_MS = 500;
/** How long a base that is made waits for the log to be followed up to its point. */
const LOG_WAIT_MS = 120_000;

/** Throws FAILED_PRECONDITION (the source is another server now), BUSY (the schema kept changing), UNREACHABLE, CANCELLED. */
export async function makeBase(
  job: BackupJob<EngineSpec>,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const { sourceId, engine } = job.source;
  return takeBase(sourceId, serverOf(engine.settings), signal, async (until, pointIs) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await attemptBase(job, deps, until, onProgress, pointIs);
      } catch (error) {
        const again = error instanceof HoldfastError && error.details['schemaChanged'] === true && attempt < ATTEMPTS;
        if (!again || until.aborted) throw error;
        deps.log.warn('mariadb.schema-changed', { sourceId, attempt, error: error.message });
        await sleep(deps.clock, PAUSE_MS * attempt, until);
      }
    }
  });
}

async function attemptBase(
  job: BackupJob<EngineSpec>,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
  pointIs: (point: DatabasePoint) => DatabasePoint,
): Promise<JobReport> {
  const address = addressOf(job.source.engine.settings);
  const login = loginOf(address, accountName());
  const server = await ServerSession.open(login, signal);
  try {
    // It has nothing to say while the dump runs, however long that takes.
    await server.query('SET SESSION wait_timeout = 2147483');
    const variables = await variablesOf(server);
    const method = await methodOf(job.source, server);
    const schemaBefore = await schemaDigest(server);
    const startAtMs = await serverClockMs(server);
    let endAt = Promise.resolve(startAtMs);
    const order = {
      facts: {
        ...factsOf(server.version, variables),
        formatDescription: await formatDescriptionOf(server, login, variables, signal),
      },
      nowMs: deps.clock.wallMs(),
      warnings: warningsOf(await nonTransactionalTables(server)),
    };
    return await runSnapshot<DumpPosition>(job, deps, signal, onProgress, {
      sourceType: 'mariadb',
      graceMs: 15_000,
      ...(method === 'physical'
        ? {
            module: siblingModule(import.meta.url, './physical/physical-producer'),
            data: { ...order, ...physicalCall(address, variables) },
          }
        : {
            module: siblingModule(import.meta.url, './dump/dump-producer'),
            data: { ...order, ...dumpCall(address, server.version, variables) },
          }),
      onMessage: () => {
        endAt = serverClockMs(server);
        endAt.catch(() => undefined);
      },
      beforeCommit: async (position) => {
        if (method === 'logical' && (await schemaDigest(server)) !== schemaBefore) throw schemaChanged();
        const endAtMs = method === 'physical' ? await serverClockMs(server) : await endAt;
        const stream = { sourceId: job.source.sourceId, stateDir: deps.stateDir, clock: deps.clock };
        const record = position.file === '' ? undefined : await currentStream(server, stream);
        const here = { file: position.file === '' ? 'none.0' : position.file, offset: position.offset };
        const point: DatabasePoint = {
          stream: record?.stream ?? { systemIdentifier: `${variables.get('server_id')}-without-log`, timeline: 0 },
          start: toLogPosition(here),
          end: toLogPosition(here),
          startAtMs,
          endAtMs,
          serverVersion: server.version,
          suspect: false,
          hasLog: record !== undefined,
          gtid: position.gtid,
        };
        if (point.hasLog) await waitForLog(job, point, signal);
        return pointIs(point);
      },
    });
  } finally {
    server.close();
  }
}

async function waitForLog({ source }: BackupJob<EngineSpec>, point: DatabasePoint, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(LOG_WAIT_MS);
  await storedUpTo(source.sourceId, point.stream, point.end, AbortSignal.any([signal, limit]));
}

async function methodOf(source: EngineSpec, server: ServerSession): Promise<'logical' | 'physical'> {
  const { method, physicalAboveBytes } = readSettings(source.engine.settings);
  if (method !== 'auto') return method;
  // The program reads the server's files, and only MariaDB's: without them a dump is what is possible.
  if (findTool('backup') === undefined || !isMariaDb(server)) return 'logical';
  return (await contentBytes(server)) > physicalAboveBytes ? 'physical' : 'logical';
}

/** What a restore needs to know besides the content. */
function factsOf(version: string, variables: ReadonlyMap<string, string>): Record<string, string> {
  const facts: Record<string, string> = { version };
  for (const name of [
    'lower_case_table_names',
    'character_set_server',
    'collation_server',
    'innodb_page_size',
    'server_id',
  ]) {
    facts[name] = variables.get(name) ?? '';
  }
  return facts;
}

/** In base64; '' when the server keeps no binary log. */
async function formatDescriptionOf(
  server: ServerSession,
  login: Login,
  variables: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<string> {
  if (variables.get('log_bin') !== 'ON') return '';
  const { position } = await momentOf(server);
  return (await readFormatDescription(login, position.file, signal)).toString('base64');
}

function dumpCall(address: ServerAddress, version: string, variables: ReadonlyMap<string, string>) {
  const logged = variables.get('log_bin') === 'ON';
  const maria = version.includes('MariaDB');
  const args = [
    ...toolOptions(address),
    '--all-databases',
    '--single-transaction',
    '--quick',
    '--routines',
    '--triggers',
    '--events',
    '--order-by-primary',
    '--hex-blob',
    '--default-character-set=utf8mb4',
    '--max-allowed-packet=1G',
    '--flush-privileges',
    '--comments',
    '--skip-dump-date',
    ...(logged ? ['--master-data=2'] : []),
    ...(logged && maria ? ['--gtid'] : []),
    ...(maria ? [] : ['--set-gtid-purged=OFF']),
  ];
  return { tool: requireTool('dump'), args };
}

function physicalCall(address: ServerAddress, variables: ReadonlyMap<string, string>) {
  const args = [...toolOptions(address), '--backup', '--stream=xbstream', `--datadir=${variables.get('datadir')}`];
  return { tool: requireTool('backup'), args, pageBytes: Number(variables.get('innodb_page_size') ?? 16_384) };
}

const NAMED = 20;

function warningsOf(tables: readonly string[]): string[] {
  if (tables.length === 0) return [];
  const more = tables.length > NAMED ? ` and ${tables.length - NAMED} more` : '';
  return [`not transactional, so not of one moment with the others: ${tables.slice(0, NAMED).join(', ')}${more}`];
}

const SYSTEM = "('information_schema', 'performance_schema', 'sys')";

/** Of what there is, by name, and of what no transaction protects: accounts, routines, views, triggers, events. */
async function schemaDigest(server: ServerSession): Promise<string> {
  const digest = createHash('sha256');
  const statements = [
    `SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1`,
    `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ${SYSTEM} ORDER BY 1, 2`,
    `SELECT TABLE_SCHEMA, TABLE_NAME, MD5(VIEW_DEFINITION) FROM information_schema.VIEWS WHERE TABLE_SCHEMA NOT IN ${SYSTEM} ORDER BY 1, 2`,
    `SELECT TRIGGER_SCHEMA, TRIGGER_NAME, MD5(ACTION_STATEMENT) FROM information_schema.TRIGGERS ORDER BY 1, 2`,
    `SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, LAST_ALTERED FROM information_schema.ROUTINES ORDER BY 1, 2, 3`,
    `SELECT EVENT_SCHEMA, EVENT_NAME, LAST_ALTERED FROM information_schema.EVENTS ORDER BY 1, 2`,
  ];
  if (isMariaDb(server))
    statements.push('CHECKSUM TABLE mysql.global_priv, mysql.db, mysql.tables_priv, mysql.roles_mapping');
  for (const statement of statements) digest.update(JSON.stringify(await server.query(statement)));
  return digest.digest('hex');
}

function schemaChanged(): HoldfastError {
  return new HoldfastError(
    'BUSY',
    'tables, views, routines or accounts were made, altered or dropped while they were dumped',
    {
      hint: 'Back up again when the schema stands still, or use method=physical.',
      details: { schemaChanged: true },
    },
  );
}
