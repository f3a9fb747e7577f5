// Rows ⇄ messages of the operator's API.

import { toBytes } from '@holdfast/shared/base/byte-string';
import type { Found } from '@holdfast/shared/format/manifest/reader';
import { decodeStat, typeOfMode, type EntryType } from '@holdfast/shared/format/manifest/stat-record';
import type {
  DeepPartial,
  EntryInfo,
  HostInfo,
  JobInfo,
  SnapshotInfo,
  SourceInfo,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { gapToWire, pointToWire, statusToWire } from '@holdfast/shared/rpc/log-wire';

import type { Snapshot } from '../browse/snapshots.ts';
import type { Host } from '../fleet/hosts.ts';
import type { Job } from '../fleet/jobs.ts';
import type { Source } from '../fleet/sources.ts';
import type { KnownSource } from './source-facts.ts';
import { typeOfSource } from './source-identity.ts';

export function hostToWire(host: Host): DeepPartial<HostInfo> {
  return {
    id: host.id,
    name: host.name,
    domain: host.domainName,
    state: host.state,
    lastSeenMs: msOf(host.lastSeenAt),
    agentVersion: host.agentVersion,
    os: host.os,
    enrolledAtMs: msOf(host.enrolledAt),
    address: host.address,
  };
}

export function jobToWire(job: Job): DeepPartial<JobInfo> {
  return {
    id: job.id,
    kind: job.kind,
    host: job.hostName,
    source: job.sourceName,
    state: job.state,
    createdAtMs: msOf(job.createdAt),
    finishedAtMs: msOf(job.finishedAt),
    errorMessage: job.errorMessage,
  };
}

export function snapshotToWire(snapshot: Snapshot, source: string): DeepPartial<SnapshotInfo> {
  return {
    id: snapshot.id,
    source,
    sequence: BigInt(snapshot.sequence),
    committedAtMs: msOf(snapshot.committedAt),
    startedAtMs: BigInt(snapshot.startedAtMs),
    stats: {
      entries: BigInt(snapshot.entries),
      files: BigInt(snapshot.files),
      bytesTotal: BigInt(snapshot.bytesTotal),
      bytesRead: BigInt(snapshot.bytesRead),
      bytesNew: BigInt(snapshot.bytesNew),
      bytesStored: BigInt(snapshot.bytesStored),
      durationMs: BigInt(snapshot.durationMs),
    },
    partial: snapshot.partial,
    warnings: BigInt(snapshot.warningsTotal),
    damaged: snapshot.damaged,
    ...(snapshot.point === undefined ? {} : { point: pointToWire(snapshot.point) }),
  };
}

export function sourceToWire(
  { source, newest, facts, state }: KnownSource,
  lastJob: Job | undefined,
): DeepPartial<SourceInfo> {
  const spec = SourceSpec.decode(source.spec);
  const { recoverable, rpoMs } = state;
  return {
    state: state.state,
    logReportedAtMs: msOf(source.logReportedAt),
    ...(facts.status === undefined ? {} : { log: statusToWire(facts.status) }),
    ...(rpoMs === undefined ? {} : { rpoMs: BigInt(Math.round(rpoMs)) }),
    ...(recoverable === undefined
      ? {}
      : {
          recoverable: {
            fromMs: BigInt(recoverable.fromMs),
            toMs: BigInt(recoverable.toMs),
            gaps: recoverable.gaps.map(gapToWire),
          },
        }),
    id: source.id,
    host: source.hostName,
    name: source.name,
    spec,
    type: typeOfSource(spec),
    ...(newest === undefined ? {} : { latest: snapshotToWire(newest.latest, fullName(source)) }),
    snapshots: BigInt(newest?.count ?? 0),
    watching: source.watching,
    watchingNote: source.watchingNote,
    ...(lastJob === undefined ? {} : { lastJob: jobToWire(lastJob) }),
  };
}

export function fullName(source: Pick<Source, 'hostName' | 'name'>): string {
  return `${source.hostName}/${source.name}`;
}

const WIRE_TYPES: Readonly<Record<EntryType, string>> = {
  file: 'file',
  directory: 'directory',
  symlink: 'symlink',
  fifo: 'fifo',
  socket: 'socket',
  charDevice: 'char-device',
  blockDevice: 'block-device',
};

export function entryToWire(found: Found): DeepPartial<EntryInfo> {
  const entry = found.leaf.entry(found.index);
  const stat = decodeStat(entry.stat);
  const type = typeOfMode(stat.mode);
  return {
    path: toBytes(entry.path),
    type: type === undefined ? '' : WIRE_TYPES[type],
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    user: Buffer.from(entry.user, 'latin1').toString('utf8'),
    group: Buffer.from(entry.group, 'latin1').toString('utf8'),
    size: BigInt(stat.size),
    mtimeSeconds: BigInt(stat.mtimeSeconds),
    mtimeNs: stat.mtimeNs,
    linkTarget: toBytes(entry.linkTarget),
    links: stat.nlink,
    deviceMajor: stat.rdevMajor,
    deviceMinor: stat.rdevMinor,
    xattrNames: entry.xattrs.kind === 'inline' ? entry.xattrs.list.map((xattr) => toBytes(xattr.name)) : [],
  };
}

export function msOf(time: Date | null): bigint {
  return BigInt(time?.getTime() ?? 0);
}
