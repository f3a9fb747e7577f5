// Restores that a plan asks for: into a drill's sandbox, into a warm copy, or onto a host that must stay itself. What is left of such a job
// when its place is decided is an ordinary restore.

import { fromText, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { existsSync, readdirSync } from 'node:fs';
import type { JobReport, JobWarning, Pipelines, RestoreJob, RunRestore, WarmOrder } from '../../jobs/job.ts';
import { EMPTY_SUMMARY } from '../../jobs/outcome.ts';
import { isWithin } from '../sandbox/mount-plan.ts';
import type { Sandbox, Sandboxes } from '../sandbox/sandbox.ts';
import { keptIdentity } from './identity-paths.ts';
import { Marks } from './marks.ts';
import { hasWarmRecord } from './warm-record.ts';

export interface PlanRestoreDeps {
  readonly stateDir: string;
  readonly sandboxes: Pick<Sandboxes, 'get'>;
  /** Of databases, whose copies replay a log. Throws with `details.cold` when there is no copy that could be finished. */
  readonly database: RunRestore;
}

/** Wraps the pipeline of restores: a job that no plan asked for goes through as it is. */
export function planRestores(base: Pipelines['restore'], deps: PlanRestoreDeps): Pipelines['restore'] {
  return async (job) => {
    if (job.sandbox === undefined && job.warm === undefined && job.keepsIdentity !== true) return base(job);
    const marks = new Marks(deps.stateDir);
    return async (asked, jobDeps, signal, onProgress) => {
      if (asked.warm?.action === 'release' && asked.sandbox === undefined) {
        // By what is kept here: the controller may know the source no more.
        if (hasWarmRecord(deps.stateDir, asked.warm)) await deps.database(asked, jobDeps, signal, onProgress);
        marks.release(asked.warm);
        return { summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 };
      }
      const kept =
        asked.keepsIdentity === true && asked.engine === undefined ? keptIdentity(asked.target, [deps.stateDir]) : [];
      const own: RestoreJob = { ...asked, kept };
      const run = async (placed: RestoreJob): Promise<JobReport> =>
        (await base(placed))(placed, jobDeps, signal, onProgress);
      if (own.sandbox !== undefined) return run(await intoSandbox(own, deps.sandboxes.get(own.sandbox), marks));
      if (own.warm === undefined) {
        const release = async (warm: WarmOrder): Promise<void> => {
          await deps.database({ ...own, warm }, jobDeps, signal, onProgress);
        };
        if (own.engine?.source.type === 'postgres') await endCopiesAt(placesOf(own), marks, release);
        return run(own);
      }
      const database = own.engine === undefined ? undefined : databaseOf(deps, own);
      if (own.warm.action === 'finish' && database === undefined) return finishFiles(own, own.warm, marks, run);
      // What is brought to an earlier point becomes nobody's copy.
      if (own.warm.action !== 'finish' || !goesBack(own)) marks.claim(own.warm, placesOf(own));
      if (database !== undefined) {
        try {
          return await database(own, jobDeps, signal, onProgress);
        } catch (error) {
          if (own.warm.action !== 'finish' || !isCold(error)) throw error;
          await database({ ...own, warm: { ...own.warm, action: 'release' } }, jobDeps, signal, onProgress);
          return coldly(await run({ ...own, delta: holdsSomething(own), intoNonEmpty: false }), error);
        }
      }
      const report = await run({ ...own, delta: true, deleteExtra: true, intoNonEmpty: true });
      const isWhole = report.failure === undefined && report.warningsTotal === 0;
      if (isWhole) marks.applied(own.warm, Buffer.from(report.summary.snapshotId ?? []).toString('hex'));
      return report;
    };
  };
}

/** What is the snapshot already needs no look at each of its files: that is what makes a failover independent of their number. */
async function finishFiles(
  job: RestoreJob,
  order: WarmOrder,
  marks: Marks,
  run: (job: RestoreJob) => Promise<JobReport>,
): Promise<JobReport> {
  const mark = marks.of(order);
  const isThere = mark !== undefined && placesOf(job).every((place) => mark.places.includes(place));
  const isCurrent = isThere && order.snapshotId !== '' && mark.applied === order.snapshotId;
  // From now on others write there.
  marks.applied(order, '');
  // In a copy's own places nothing else belongs: a point before what it holds knows nothing of newer files, nor of who wrote them.
  if (!isCurrent) return run(isThere ? { ...job, delta: true, deleteExtra: true, intoNonEmpty: true } : job);
  return {
    summary: { ...EMPTY_SUMMARY, snapshotId: Buffer.from(order.snapshotId, 'hex') },
    warnings: [],
    warningsTotal: 0,
  };
}

/** A copy has replayed everything that is stored. */
function goesBack({ engine }: RestoreJob): boolean {
  return engine !== undefined && engine.target.kind !== 'latest' && !engine.toEndOfLog;
}

/** A plan whose standby was warm when its copies were made, and is not any more: their servers would go on in what is restored. */
async function endCopiesAt(
  places: readonly ByteString[],
  marks: Marks,
  release: (order: WarmOrder) => Promise<void>,
): Promise<void> {
  const met = marks
    .all()
    .filter((mark) => mark.places.some((one) => places.some((place) => isWithin(one, place) || isWithin(place, one))));
  for (const { application, sourceId } of met) {
    const order: WarmOrder = { application, sourceId, action: 'release', takeOver: false, snapshotId: '' };
    await release(order);
    marks.release(order);
  }
}

function isCold(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && error.details['cold'] === true;
}

/** What the run's report says of a failover that took longer than it should. */
function coldly(report: JobReport, { message }: HoldfastError): JobReport {
  const warning: JobWarning = { code: 'cold', path: '', message: `restored from its base: ${message}` };
  return { ...report, warnings: [warning, ...report.warnings], warningsTotal: report.warningsTotal + 1 };
}

function holdsSomething({ target }: RestoreJob): boolean {
  const path = toBytes(target);
  return existsSync(path) && readdirSync(path).length > 0;
}

function databaseOf({ database }: PlanRestoreDeps, { engine }: RestoreJob): RunRestore {
  if (engine?.source.type === 'postgres') return database;
  throw new HoldfastError('FAILED_PRECONDITION', `no warm copy of a ${engine?.source.type} source is kept`, {
    hint: 'It is restored when the plan runs: PostgreSQL and file trees are kept warm.',
  });
}

/**
 * Where a restore writes: its target, or below / the paths that it names. Throws INVALID_ARGUMENT for one that would be all of this host.
 */
export function placesOf({ target, paths }: Pick<RestoreJob, 'target' | 'paths'>): ByteString[] {
  const base = target.replace(/\/+$/, '');
  if (base !== '') return [base];
  const places = paths.map((path) => `/${path.replace(/^\/+|\/+$/g, '')}`);
  if (places.length > 0 && !places.includes('/')) return places;
  throw new HoldfastError('INVALID_ARGUMENT', 'a copy of a whole host onto a whole host is not kept', {
    hint: 'Name the source’s paths, or give the restore step a target.',
  });
}

/** The same restore, to where the sandbox has its target. The plan's warm copies are out of its sight: they change while it runs. */
async function intoSandbox(job: RestoreJob, sandbox: Sandbox, marks: Marks): Promise<RestoreJob> {
  const { sandbox: _sandbox, warm: _warm, ...plain } = job;
  const text = toBytes(job.target).toString('utf8');
  if (job.target.replace(/\/+$/, '') === '') {
    const copies = marks.all().flatMap((mark) => mark.places);
    for (const copy of copies) {
      if (placesOf(job).some((place) => isWithin(copy, place))) await sandbox.place(toBytes(copy).toString('utf8'));
    }
    return { ...plain, target: fromText(sandbox.hostPath('/')), intoNonEmpty: true };
  }
  const own = await sandbox.place(text);
  if (job.engine === undefined) {
    // The step once more: what the first attempt wrote is made the same.
    const again = readdirSync(own).length > 0;
    return { ...plain, target: fromText(own), intoNonEmpty: again, delta: again, deleteExtra: false };
  }
  const { engine } = job;
  if (engine.start && engine.source.type !== 'postgres') {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `a drill can't start a restored ${engine.source.type} server itself`,
      {
        hint: 'Give the restore step a unit: then the service starts in the sandbox on what was restored.',
      },
    );
  }
  const options = Object.fromEntries(
    Object.entries(engine.options).filter(([name]) => !name.startsWith('tablespace.')),
  );
  return {
    ...plain,
    target: fromText(sandbox.hostPath(text)),
    // The step once more: what the first attempt wrote is made the base's.
    delta: readdirSync(own).length > 0,
    intoNonEmpty: false,
    engine: { ...engine, options },
    serverPlace: {
      target: text,
      // The first process of the sandbox dies with this agent.
      agentPid: 1,
      wrap: (command, account) => sandbox.wrap(command, { account, directory: text }),
    },
  };
}
