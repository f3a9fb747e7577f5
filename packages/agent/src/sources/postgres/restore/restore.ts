// Brings a PostgreSQL cluster back: the base's files, the log behind it, and, when asked to, a server that has replayed it and runs.
//
//     snapshot data/ ──▶ DIR    tablespaces/OID/ ──▶ where they are mapped to    vault's log ──▶ DIR/holdfast_wal ──▶ server
//
// Hazards: writing over a running server; a server that acts as the one it was (recovery-settings.ts); a log with a hole, which
// PostgreSQL takes for its end. A damaged piece stops the replay before it, and is said.
//
// Invariants (restore.db.test.ts): P1 every transaction acknowledged before the target is there and none after it; P2 nothing is
// written where a server runs, or where something is that nobody said may be overwritten; P3 what was started is ended when the
// restore fails; P4 no directory of production's is used, whatever base and log say (tablespaces.db.test.ts).

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fromText, toBytes } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  EngineRestore,
  JobDeps,
  JobReport,
  JobWarning,
  ProgressListener,
  RestoreJob,
  Settings,
} from '../../../jobs/job.ts';
import type { LogReadSession } from '../../../link/log-port.ts';
import type { Account } from '../../../os/account.ts';
import { KeyRing } from '../../../restore/key-ring.ts';
import { readSnapshotFile } from '../../../restore/read-file.ts';
import { runRestore } from '../../../restore/restore.ts';
import {
  DATA_PATH,
  decodeFacts,
  FACTS_MAX_BYTES,
  FACTS_PATH,
  majorOf,
  TABLESPACES_PATH,
  type BaseFacts,
} from '../base/base-facts.ts';
import { parseLsn, positionOf } from '../log/lsn.ts';
import { CONTROL_MAX_BYTES, CONTROL_PATH, giveControl, withholdControl } from './control-file.ts';
import {
  checkReachable,
  giveTo,
  prepareRecovery,
  refuseMerging,
  refuseRunningServer,
  serverAccount,
} from './data-directory.ts';
import { keepTablespaces, type SafeWalSource } from './log-tablespaces.ts';
import { findPrograms } from './programs.ts';
import { DEFAULT_PORT, reachedPoint, startServer, type RestoredServer } from './server-run.ts';
import {
  IN_PLACE_SINCE,
  linkTablespaces,
  refuseUsedPlaces,
  removeLink,
  tablespacesOf,
  tablespaceWarnings,
  type TablespacePlaces,
  type MappedTablespace,
} from './tablespaces.ts';
import { openWalSource, type WalSource } from './wal-files.ts';
import { layAll, prepareLogFolder, startFeeding, type Feeding } from './wal-feeder.ts';

/** Throws FAILED_PRECONDITION, BUSY, INVALID_ARGUMENT, DAMAGED, STORAGE_FULL, CANCELLED, UNREACHABLE. */
export async function runPostgresRestore(
  job: RestoreJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const { engine } = job;
  // Single files of a base are files like any other.
  if (engine === undefined || job.paths.length > 0) return runRestore(job, deps, signal, onProgress);
  const restored = await restoreCluster(job, engine, deps, signal, onProgress);
  await restored.closeLog();
  return restored.report;
}

/** A restored cluster, and its server when it was started. */
export interface RestoredCluster {
  readonly report: JobReport;
  readonly facts: BaseFacts;
  readonly bin: string | undefined;
  readonly server: RestoredServer | undefined;
  closeLog(): Promise<void>;
}

/** The files of a base where they belong; what a server is told is still to be written. */
export interface LaidCluster {
  readonly dataDir: string;
  readonly facts: BaseFacts;
  readonly bin: string | undefined;
  readonly account: Account;
  readonly places: TablespacePlaces;
  readonly files: JobReport;
}

/** Throws as a restore does, before anything is written where something forbids it. */
export async function layCluster(
  job: RestoreJob,
  engine: EngineRestore,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<LaidCluster> {
  const dataDir = toBytes(job.target).toString('utf8');
  const read = (path: string, maxBytes: number): Promise<Buffer> =>
    readSnapshotFile(job.grant, path, maxBytes, deps, signal);
  const changes = job.delta && !job.dryRun;
  const [factsFile, control] = await Promise.all([
    read(FACTS_PATH, FACTS_MAX_BYTES),
    changes ? read(CONTROL_PATH, CONTROL_MAX_BYTES) : undefined,
  ]);
  const facts = decodeFacts(factsFile);
  const options: Settings = { ...engine.source.settings, ...engine.options };
  const bin = engine.start ? findPrograms(majorOf(facts.serverVersionNumber), options['bindir']) : undefined;
  refuseRunningServer(dataDir);
  refuseMerging(dataDir, job);
  const account = serverAccount(dataDir);
  if (bin !== undefined) checkReachable(dataDir, account);
  const places = tablespacesOf(facts, options, dataDir, engine.log !== undefined);
  refuseUsedPlaces(places, job);

  if (control !== undefined) withholdControl(dataDir);
  const files = await restoreFiles(job, places.ofBase, deps, signal, onProgress);
  if (!job.dryRun && files.failure === undefined) {
    linkTablespaces(dataDir, places, account);
    rmSync(join(dataDir, 'tablespace_map'), { force: true });
    if (control !== undefined) giveControl(dataDir, control, account);
  }
  return { dataDir, facts, bin, account, places, files };
}

export async function restoreCluster(
  job: RestoreJob,
  engine: EngineRestore,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
  beforeStart: (bin: string, dataDir: string, account: Account) => Promise<void> = async () => undefined,
): Promise<RestoredCluster> {
  const { dataDir, facts, bin, account, places, files } = await layCluster(job, engine, deps, signal, onProgress);
  if (job.dryRun || files.failure !== undefined) {
    return { report: files, facts, bin, server: undefined, closeLog: async () => undefined };
  }
  const { target, toEndOfLog, log } = engine;
  prepareRecovery(dataDir, {
    target: log === undefined ? { kind: 'base' } : target,
    stream: log?.stream,
    toEndOfLog,
    tablespacesInPlace: facts.serverVersionNumber >= IN_PLACE_SINCE,
  });
  prepareLogFolder(dataDir);
  giveTo(dataDir, account);
  if (bin !== undefined) await beforeStart(bin, dataDir, account);

  const opened = await openLog(engine, facts, deps, signal);
  const said = (): JobWarning[] => tablespaceWarnings(dataDir, places, opened.source.moved, bin !== undefined);
  let server: RestoredServer | undefined;
  let feeding: Feeding | undefined;
  try {
    if (bin === undefined) {
      await layAll(dataDir, opened.source, facts.walFileBytes, account, signal);
      return {
        report: withWarnings(files, said()),
        facts,
        bin,
        server: undefined,
        closeLog: async () => opened.close(),
      };
    }
    const startedAt = deps.clock.monotonicMs();
    const { source } = opened;
    const feeder = (feeding = startFeeding(dataDir, source, account, deps.clock, job.serverPlace?.agentPid));
    giveTo(join(dataDir, 'holdfast_wal'), account);
    server = startServer({
      bin,
      dataDir,
      port: engine.port || DEFAULT_PORT,
      account,
      clock: deps.clock,
      user: facts.superuser,
      ...(job.serverPlace === undefined ? {} : { place: job.serverPlace }),
    });
    await server.ready(signal, () => onProgress(replaying(files, feeder, source, facts)));
    const stream = log?.stream ?? { systemIdentifier: facts.systemIdentifier, timeline: facts.timeline };
    const reached = await reachedPoint(server, stream, deps.clock.monotonicMs() - startedAt, {});
    await feeder.stop();
    const { damage } = feeder;
    const report: JobReport = {
      ...withWarnings(files, said()),
      reached,
      ...(damage === undefined ? {} : { failure: damagedLog(damage, reached.position.text) }),
    };
    return { report, facts, bin, server, closeLog: async () => opened.close() };
  } catch (error) {
    await server?.stop();
    const damage = feeding?.damage;
    await feeding?.stop();
    opened.close();
    throw damage === undefined
      ? error
      : new HoldfastError(damage.code, `the log can't be replayed up to there: ${damage.message}`, {
          hint: 'Restore to a point before it; `holdfast verify` names what is damaged.',
          cause: error,
        });
  }
}

function withWarnings(report: JobReport, more: readonly JobWarning[]): JobReport {
  return { ...report, warnings: [...more, ...report.warnings], warningsTotal: report.warningsTotal + more.length };
}

function damagedLog(damage: HoldfastError, reached: string): NonNullable<JobReport['failure']> {
  return {
    code: damage.code,
    message: `${damage.message}; the restored server stands before it, at ${reached}`,
    hint: 'What was committed after that is lost unless another copy of the log exists.',
  };
}

function replaying(files: JobReport, feeder: Feeding, source: WalSource, facts: BaseFacts) {
  const { summary } = files;
  return {
    phase: 'restore' as const,
    filesDone: summary.files,
    filesTotal: summary.files,
    bytesDone: summary.bytesTotal + feeder.filesGiven * facts.walFileBytes,
    bytesTotal: summary.bytesTotal + source.names.length * facts.walFileBytes,
    bytesNew: 0,
    bytesStored: 0,
    currentPath: 'replaying the log',
  };
}

/** The data directory, then each tablespace; their figures added up. */
async function restoreFiles(
  job: RestoreJob,
  spaces: readonly MappedTablespace[],
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const changes = job.delta && !job.dryRun;
  // They are no part of the data directory's own archive.
  const own = spaces.filter(({ path }) => path === undefined).map(({ oid }) => `${DATA_PATH}/pg_tblspc/${oid}`);
  const part = (root: string, target: string): Promise<JobReport> =>
    runRestore(
      // Of an older state nothing may stay: a file that the base does not have would be taken for one of the cluster's.
      {
        ...job,
        root,
        paths: [root],
        target: fromText(target),
        deleteExtra: job.delta,
        inPlace: job.delta,
        kept: [...(job.kept ?? []), ...own.map(fromText), ...(changes ? [CONTROL_PATH] : [])],
      },
      deps,
      signal,
      onProgress,
    );
  let report = await part(DATA_PATH, toBytes(job.target).toString('utf8'));
  for (const { oid, target } of spaces) {
    if (report.failure !== undefined) break;
    removeLink(join(toBytes(job.target).toString('utf8'), 'pg_tblspc', String(oid)));
    report = sumOf(report, await part(`${TABLESPACES_PATH}/${oid}`, target));
  }
  return report;
}

function sumOf(a: JobReport, b: JobReport): JobReport {
  const [x, y] = [a.summary, b.summary];
  const failure = b.failure ?? a.failure;
  return {
    ...a,
    summary: {
      ...x,
      entries: x.entries + y.entries,
      files: x.files + y.files,
      filesChanged: x.filesChanged + y.filesChanged,
      bytesTotal: x.bytesTotal + y.bytesTotal,
      bytesRead: x.bytesRead + y.bytesRead,
      bytesNew: x.bytesNew + y.bytesNew,
      durationMs: x.durationMs + y.durationMs,
    },
    warnings: [...a.warnings, ...b.warnings],
    warningsTotal: a.warningsTotal + b.warningsTotal,
    ...(failure === undefined ? {} : { failure }),
  };
}

async function openLog(
  engine: EngineRestore,
  facts: BaseFacts,
  deps: JobDeps,
  signal: AbortSignal,
): Promise<{ readonly source: SafeWalSource; close(): void }> {
  const { log } = engine;
  const { domainSecret, domainId } = deps.identity;
  if (log === undefined || domainSecret === undefined) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      'a base of PostgreSQL can be brought up only with the log up to its end',
      {
        hint: 'The controller gave no grant for the log: is the source one that keeps it?',
      },
    );
  }
  const session: LogReadSession = await deps.vault.openLogRead(log.grant, { signal });
  try {
    const source = await openWalSource({
      session,
      keys: new KeyRing(domainSecret, domainId),
      base: {
        stream: { systemIdentifier: facts.systemIdentifier, timeline: facts.timeline },
        start: positionOf(parseLsn(facts.start)),
      },
      stream: log.stream,
      end: log.end,
      fileBytes: facts.walFileBytes,
    });
    return { source: keepTablespaces(source, facts.walFileBytes), close: () => session.close() };
  } catch (error) {
    session.close();
    throw error;
  }
}
