// The control stream's messages, from and to the agent's own types.
//
// Hazard: what comes from the controller is checked before anything is done with it (threat 40): absolute paths, sizes
// that a number holds, kinds that this agent knows. A job that cannot be understood is answered, not dropped.

import { isAbsolute } from 'node:path';
import { fromBytes, fromText, toBytes } from '@holdfast/shared/base/byte-string';
import { displayPath } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  AgentMessage,
  Job as WireJob,
  JobOutcome as WireOutcome,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { SourceSpec as WireSource } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import type { LogStatus } from '@holdfast/shared/format/log-point';
import { statusToWire } from '@holdfast/shared/rpc/log-wire';
import type { Compression, Job, JobOutcome, JobProgress, RestorePlan, SourceSpec } from '../jobs/job.ts';
import { engineOutcomeToWire, engineRestoreFromWire, engineSourceFromWire } from './engine-wire.ts';
import { recoveryRestoreFromWire, sandboxFromWire } from './recovery-wire.ts';
import { stepFromWire, stepOutcomeToWire } from './step-wire.ts';

/** What the agent says of a source's standing protection. */
export interface SourceReport {
  readonly sourceId: string;
  readonly watching: 'continuous' | 'scheduled' | 'off';
  /** In words, when it is not what was asked for. */
  readonly note: string;
  /** Of a source that keeps a log. */
  readonly log?: LogStatus;
}

/** Throws INVALID_ARGUMENT (a newer controller's kind of job, say). */
export function jobFromWire(wire: WireJob): Job {
  const { jobId, kind } = wire;
  if (jobId === '' || jobId.length > 200) throw refused('a job without a proper id');
  if (kind?.$case === 'backup') {
    if (kind.value.source === undefined) throw refused('a backup without a source');
    return { kind: 'backup', jobId, source: sourceFromWire(kind.value.source), fullRead: kind.value.fullRead };
  }
  if (kind?.$case === 'restore') {
    const { value } = kind;
    if (!isAbsolute(value.target) || value.target.includes('\0'))
      throw refused('a restore to a path that is not absolute');
    return {
      kind: 'restore',
      jobId,
      grant: value.grant,
      target: fromText(value.target),
      paths: value.paths.map(fromBytes),
      delta: value.delta,
      dryRun: value.dryRun,
      intoNonEmpty: value.intoNonEmpty,
      setuid: value.setuid,
      deleteExtra: value.deleteExtra,
      limitBytesPerSecond: size(value.limitBytesPerSecond),
      ...(value.engine === undefined ? {} : { engine: engineRestoreFromWire(value.engine) }),
      ...recoveryRestoreFromWire(value),
    };
  }
  if (kind?.$case === 'verify') {
    const { grant, paths, limitBytesPerSecond, restoreTest } = kind.value;
    return {
      kind: 'verify',
      jobId,
      grant,
      paths: paths.map(fromBytes),
      limitBytesPerSecond: size(limitBytesPerSecond),
      ...(restoreTest === undefined ? {} : { restoreTest: engineRestoreFromWire(restoreTest) }),
    };
  }
  if (kind?.$case === 'check') {
    if (kind.value.source === undefined) throw refused('a check without a source');
    return { kind: 'check', jobId, source: sourceFromWire(kind.value.source) };
  }
  if (kind?.$case === 'discover') return { kind: 'discover', jobId };
  if (kind?.$case === 'step') return { kind: 'step', jobId, step: stepFromWire(kind.value) };
  if (kind?.$case === 'sandbox') return sandboxFromWire(jobId, kind.value);
  throw refused('a kind of job that this agent does not know; update the agent');
}

/** Throws INVALID_ARGUMENT. */
export function sourceFromWire(wire: WireSource): SourceSpec {
  if (wire.type?.$case === 'engine') {
    return { type: 'engine', engine: engineSourceFromWire(wire.type.value), ...commonFromWire(wire) };
  }
  if (wire.type?.$case !== 'files')
    throw refused(`source ${wire.name}: a type that this agent does not know; update the agent`);
  const files = wire.type.value;
  if (files.paths.length === 0) throw refused(`source ${wire.name}: no path`);
  for (const path of files.paths) {
    if (!isAbsolute(path) || path.includes('\0'))
      throw refused(`source ${wire.name}: ${JSON.stringify(path)} is not absolute`);
  }
  return {
    type: 'files',
    files: {
      paths: files.paths.map(fromText),
      excludes: files.excludes,
      includes: files.includes,
      oneFileSystem: files.oneFileSystem,
      excludeCaches: files.excludeCaches,
      continuous: files.continuous,
      scanEverySeconds: files.scanEverySeconds,
    },
    ...commonFromWire(wire),
  };
}

function commonFromWire(wire: WireSource): Omit<SourceSpec, 'type'> {
  return {
    sourceId: wire.sourceId,
    name: wire.name,
    hooks: {
      before: wire.hooks?.before ?? [],
      after: wire.hooks?.after ?? [],
      timeoutSeconds: wire.hooks?.timeoutSeconds ?? 0,
      requireBefore: wire.hooks?.requireBefore ?? false,
    },
    limitBytesPerSecond: size(wire.limitBytesPerSecond),
    compression: { codec: codec(wire.compression?.codec ?? ''), level: wire.compression?.level ?? 0 },
  };
}

function codec(name: string): Compression['codec'] {
  if (name === '' || name === 'zstd') return 'zstd';
  if (name === 'lz4' || name === 'none') return name;
  throw refused(`compression ${JSON.stringify(name)} is not known to this agent`);
}

function size(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw refused('a size beyond 2^53');
  return Number(value);
}

function refused(what: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `the controller asked for ${what}`);
}

export interface Hello {
  readonly agentVersion: string;
  readonly bootId: string;
  readonly processId: string;
  readonly runningJobs: readonly string[];
  /** host:port where this agent answers other hosts' agents. */
  readonly peerAddresses: readonly string[];
}

export const PROTOCOL_VERSION = 1;

export function helloMessage(hello: Hello): AgentMessage {
  return {
    kind: {
      $case: 'hello',
      value: {
        protocolMin: PROTOCOL_VERSION,
        protocolMax: PROTOCOL_VERSION,
        agentVersion: hello.agentVersion,
        bootId: hello.bootId,
        processId: hello.processId,
        runningJobs: [...hello.runningJobs],
        peerAddresses: [...hello.peerAddresses],
      },
    },
  };
}

export function heartbeatMessage(uptimeMs: number, memoryBytes: number): AgentMessage {
  return {
    kind: { $case: 'heartbeat', value: { uptimeMs: count(uptimeMs), memoryBytes: count(memoryBytes) } },
  };
}

export function progressMessage(jobId: string, progress: JobProgress): AgentMessage {
  return {
    kind: {
      $case: 'progress',
      value: {
        jobId,
        phase: progress.phase,
        filesDone: count(progress.filesDone),
        filesTotal: count(progress.filesTotal),
        bytesDone: count(progress.bytesDone),
        bytesTotal: count(progress.bytesTotal),
        bytesNew: count(progress.bytesNew),
        bytesStored: count(progress.bytesStored),
        currentPath: displayPath(progress.currentPath),
      },
    },
  };
}

export function sourceReportMessage(report: SourceReport): AgentMessage {
  const { log, ...rest } = report;
  return { kind: { $case: 'source', value: { ...rest, log: log === undefined ? undefined : statusToWire(log) } } };
}

/** Warnings are cut to what one message holds; their total says how many there were. */
export function finishedMessage(jobId: string, outcome: JobOutcome): AgentMessage {
  return { kind: { $case: 'finished', value: { jobId, outcome: outcomeToWire(outcome) } } };
}

const WARNING_BYTES_IN_MESSAGE = 768 * 1024;

function outcomeToWire(outcome: JobOutcome): WireOutcome {
  const { summary } = outcome;
  const warnings: WireOutcome['warnings'] = [];
  let bytes = 0;
  for (const { code, path, message } of outcome.warnings) {
    bytes += path.length + 3 * message.length + code.length + 16;
    if (bytes > WARNING_BYTES_IN_MESSAGE) break;
    warnings.push({ code, path: toBytes(path), message });
  }
  return {
    result: outcome.result,
    summary: {
      snapshotId: Buffer.from(summary.snapshotId ?? []),
      entries: count(summary.entries),
      files: count(summary.files),
      filesChanged: count(summary.filesChanged),
      bytesTotal: count(summary.bytesTotal),
      bytesRead: count(summary.bytesRead),
      bytesNew: count(summary.bytesNew),
      bytesStored: count(summary.bytesStored),
      durationMs: count(summary.durationMs),
      partial: summary.partial,
    },
    warnings,
    warningsTotal: count(outcome.warningsTotal),
    errorCode: outcome.failure?.code ?? '',
    errorMessage: outcome.failure?.message ?? '',
    errorHint: outcome.failure?.hint ?? '',
    ...engineOutcomeToWire(outcome),
    planned: outcome.planned === undefined ? undefined : planToWire(outcome.planned),
    snapshots: [],
    step: outcome.step === undefined ? undefined : stepOutcomeToWire(outcome.step),
  };
}

const EXAMPLE_BYTES_IN_MESSAGE = 64 * 1024;

function planToWire(plan: RestorePlan): NonNullable<WireOutcome['planned']> {
  const examples: NonNullable<WireOutcome['planned']>['examples'] = [];
  let bytes = 0;
  for (const { action, path } of plan.examples) {
    bytes += path.length + 16;
    if (bytes > EXAMPLE_BYTES_IN_MESSAGE) break;
    examples.push({ action, path: toBytes(path) });
  }
  return {
    created: count(plan.created),
    changed: count(plan.changed),
    metadata: count(plan.metadata),
    unchanged: count(plan.unchanged),
    deleted: count(plan.deleted),
    bytesWritten: count(plan.bytesWritten),
    bytesUnchanged: count(plan.bytesUnchanged),
    bytesFetched: count(plan.bytesFetched),
    examples,
    dryRun: plan.dryRun,
  };
}

function count(value: number): bigint {
  return BigInt(Math.max(0, Math.round(value)));
}
