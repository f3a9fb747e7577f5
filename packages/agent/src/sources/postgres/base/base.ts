// A base backup, from the job to the committed snapshot: the main thread's part.
//
// Hazard: a base without the log up to its end can't be made consistent. So it commits only after the guard that follows the log
// has stored it that far; the controller holds it against what it has, too.

import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { runSnapshot } from '../../../backup/producer/run-snapshot.ts';
import type { BackupJob, EngineSpec, JobDeps, JobReport, ProgressListener, Settings } from '../../../jobs/job.ts';
import { serverOf } from '../connection.ts';
import { parseLsn, positionOf } from '../log/lsn.ts';
import { takeBase } from '../../bases/base-registry.ts';
import { waitUntilStored } from '../stored-log.ts';
import type { BaseFacts } from './base-facts.ts';

/** What the producer's thread is given. */
export interface BaseOrder {
  readonly settings: Settings;
  readonly label: string;
  readonly checkpoint: 'fast' | 'spread';
}

/** What it answers. */
export interface BaseMade {
  readonly facts: BaseFacts;
  readonly suspect: boolean;
}

/** Throws UNREACHABLE, NOT_ALLOWED, FAILED_PRECONDITION (its log is not followed; the source is another server now), CANCELLED. */
export async function runBase(
  job: BackupJob<EngineSpec>,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const { settings } = job.source.engine;
  const order: BaseOrder = {
    settings,
    label: 'holdfast',
    checkpoint: settings['checkpoint'] === 'spread' ? 'spread' : 'fast',
  };
  const { sourceId } = job.source;
  return takeBase(sourceId, serverOf(settings), signal, (until, pointIs) =>
    runSnapshot<BaseMade>(job, deps, until, onProgress, {
      module: siblingModule(import.meta.url, './base-producer'),
      data: order,
      sourceType: 'postgres',
      async beforeCommit({ facts, suspect }, stop) {
        const point = pointOf(facts, suspect);
        await waitUntilStored(sourceId, point.stream, point.end, stop);
        return pointIs(point);
      },
    }),
  );
}

function pointOf(facts: BaseFacts, suspect: boolean): DatabasePoint {
  return {
    stream: { systemIdentifier: facts.systemIdentifier, timeline: facts.timeline },
    start: positionOf(parseLsn(facts.start)),
    end: positionOf(parseLsn(facts.end)),
    startAtMs: facts.startAtMs,
    endAtMs: facts.endAtMs,
    serverVersion: facts.serverVersion,
    suspect,
    hasLog: true,
    gtid: '',
  };
}
