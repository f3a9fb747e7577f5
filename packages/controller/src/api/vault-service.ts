// The Vault service: wire ⇄ vault/contract.ts.
//
// Hazard: one slow or silent peer holds memory for ever. Requests are read one by one, each only when the vault has room for
// it (that is HTTP/2's back-pressure), and every stream ends when its peer is silent for too long.
//
// Tested in vault-service.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import {
  type BackupBegan as WireBegan,
  type BackupBegin as WireBegin,
  type BackupCommit as WireCommit,
  type BackupRequest,
  type BackupResponse,
  type GrantOwnRequest,
  type GrantOwnResponse,
  type ObjectPart as WirePart,
  type ReadRequest,
  type ReadResponse,
  type VaultServiceImplementation,
  type Want as WireWant,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { pointFromWire } from '@holdfast/shared/rpc/log-wire';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { CallContext } from 'nice-grpc-common';

import type {
  BackupAnswer,
  BackupBegan,
  BackupStream,
  BeginBackup,
  Caller,
  CommitBackup,
  ObjectPart,
  ReadAnswer,
  Vault,
  Want,
} from '../vault/contract.ts';
import { requireHost, type CallerContext } from './caller.ts';
import { readLog, storeLog, type NextRequest } from './log-service.ts';

export interface VaultServiceDeps {
  readonly vault: Vault;
  readonly clock: Clock;
  /** A reading stream whose peer neither asks nor takes for this long is ended. */
  readonly readIdleMs?: number;
}

type Context = CallContext & CallerContext;

const DATA_MAX_BYTES = 1024 * 1024 - 1024;
const READ_IDLE_MS = 10 * 60_000;

/** The service's handlers; `errorsToStatus` and `authenticate` are expected around them. */
export function vaultService(deps: VaultServiceDeps): VaultServiceImplementation<CallerContext> {
  return {
    backup: (requests, context) => backup(deps.vault, requests, callerOf(context)),
    read: (requests, context) => read(deps, requests, callerOf(context), context.signal),
    grantOwn: (request, context) => grantOwn(deps.vault, request, callerOf(context)),
    storeLog: (requests, context) => storeLog(deps.vault, requests, callerOf(context)),
    readLog: (requests, context) => {
      const { vault, clock, readIdleMs = READ_IDLE_MS } = deps;
      const nextWithinIdle: NextRequest = (next) => withinIdle(next, clock, readIdleMs, context.signal);
      return readLog({ vault, nextWithinIdle }, requests, callerOf(context));
    },
  };
}

function callerOf(context: Context): Caller {
  const { hostId, domainId } = requireHost(context);
  return { hostId, domainId };
}

async function* backup(
  vault: Vault,
  requests: AsyncIterable<BackupRequest>,
  caller: Caller,
): AsyncGenerator<BackupResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true || first.value.kind?.$case !== 'begin') throw violation('a stream that does not begin');
  const stream = await vault.beginBackup(caller, beginOf(first.value.kind.value));
  try {
    yield { kind: { $case: 'began', value: beganMessage(stream.began) } };
    // What fails here ends the stream's answers with the same error.
    void receive(stream, incoming).catch(() => undefined);
    for await (const answer of stream.answers) yield answerMessage(answer);
  } finally {
    stream.close();
  }
}

async function receive(stream: BackupStream, incoming: AsyncIterator<BackupRequest>): Promise<void> {
  try {
    for (;;) {
      const next = await incoming.next();
      if (next.done === true) return stream.close();
      const { kind } = next.value;
      if (kind?.$case === 'part') await stream.part(releasable(kind.value));
      else if (kind?.$case === 'probe') await stream.probe(kind.value.batch, kind.value.ids);
      else if (kind?.$case === 'commit') await stream.commit(commitOf(kind.value));
      else return stream.close(violation('a message out of its place'));
    }
  } catch (error) {
    stream.close(error);
  }
}

/** The message of a part is memory of its own, which the vault gives back when it has stored the bytes or copied them. */
function releasable(part: WirePart): ObjectPart {
  return { ...part, release: () => freeMemory(part.data) };
}

function beginOf({ sourceId, jobId, sessionId, baseSnapshotId }: WireBegin): BeginBackup {
  return { sourceId: bounded(sourceId), jobId: bounded(jobId), sessionId: bounded(sessionId), baseSnapshotId };
}

function bounded(id: string): string {
  if (id.length > 64 || id.includes('\0')) throw violation('an id that is none');
  return id;
}

function beganMessage({ sessionId, latest, baseDamaged, leaseMs, windowBytes }: BackupBegan): WireBegan {
  return {
    sessionId,
    latestSnapshotId: latest?.snapshotId ?? Buffer.alloc(0),
    latestSequence: BigInt(latest?.sequence ?? 0),
    leaseMs,
    windowBytes,
    baseDamaged,
  };
}

function commitOf(wire: WireCommit): CommitBackup {
  const { recordId, partial, stats } = wire;
  if (stats === undefined) throw violation('a commit without statistics');
  return {
    recordId,
    partial,
    sequence: exact(wire.sequence),
    warningsTotal: exact(wire.warningsTotal),
    startedAtMs: exact(wire.startedAtMs),
    ...(wire.point === undefined ? {} : { point: pointFromWire(wire.point) }),
    stats: {
      entries: exact(stats.entries),
      files: exact(stats.files),
      bytesTotal: exact(stats.bytesTotal),
      bytesRead: exact(stats.bytesRead),
      bytesNew: exact(stats.bytesNew),
      bytesStored: exact(stats.bytesStored),
      durationMs: exact(stats.durationMs),
    },
  };
}

function exact(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw violation('a number that is too large');
  return number;
}

function answerMessage(answer: BackupAnswer): BackupResponse {
  if (answer.kind === 'probed') {
    return { kind: { $case: 'probed', value: { batch: answer.batch, present: answer.present } } };
  }
  if (answer.kind === 'stored') {
    return { kind: { $case: 'stored', value: { count: BigInt(answer.count), newBytes: BigInt(answer.newBytes) } } };
  }
  const { snapshotId, committedAtMs } = answer.committed;
  return { kind: { $case: 'committed', value: { snapshotId, committedAtMs: BigInt(committedAtMs) } } };
}

async function* read(
  { vault, clock, readIdleMs = READ_IDLE_MS }: VaultServiceDeps,
  requests: AsyncIterable<ReadRequest>,
  caller: Caller,
  signal: AbortSignal,
): AsyncGenerator<ReadResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true || first.value.kind?.$case !== 'open') throw violation('a stream that does not open');
  const stream = await vault.openRead(caller, first.value.kind.value.grant);
  const { recordId, recordMac } = stream;
  yield { kind: { $case: 'opened', value: { recordId, recordMac } } };

  for await (const answer of stream.serve(wantsOf(incoming, clock, readIdleMs, signal))) yield* readMessages(answer);
}

async function* wantsOf(
  incoming: AsyncIterator<ReadRequest>,
  clock: Clock,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<Want> {
  for (;;) {
    const next = await withinIdle(incoming.next(), clock, idleMs, signal);
    if (next.done === true) return;
    if (next.value.kind?.$case !== 'want') throw violation('a message out of its place');
    yield wantOf(next.value.kind.value);
  }
}

/** What a peer sends next, or TIMED_OUT. */
async function withinIdle<T>(next: Promise<T>, clock: Clock, idleMs: number, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(
      idleMs,
      () => reject(new HoldfastError('TIMED_OUT', 'the stream was silent for too long')),
      { background: true },
    );
    const aborted = (): void => reject(new HoldfastError('CANCELLED', 'the stream was dropped'));
    signal.addEventListener('abort', aborted, { once: true });
    next.then(resolve, reject).finally(() => {
      timer.cancel();
      signal.removeEventListener('abort', aborted);
    });
  });
}

function wantOf({ tag, parentId, parentMac, references }: WireWant): Want {
  return { tag, parentId, parentMac, references };
}

function* readMessages(answer: ReadAnswer): Generator<ReadResponse> {
  if (answer.kind === 'done') {
    yield { kind: { $case: 'done', value: { tag: answer.tag } } };
    return;
  }
  const { tag, reference, id } = answer;
  if (answer.kind === 'notServed') {
    const { reason, message } = answer;
    yield { kind: { $case: 'failed', value: { tag, reference, id, reason, message } } };
    return;
  }
  const { envelope, mac, pack, packOffset } = answer;
  const totalLength = envelope.length;
  for (let offset = 0; offset < totalLength; offset += DATA_MAX_BYTES) {
    const data = envelope.subarray(offset, offset + DATA_MAX_BYTES);
    // What never changes is said once, with the first part.
    const first =
      offset === 0 ? { mac, pack, packOffset: BigInt(packOffset) } : { mac: NOTHING, pack: '', packOffset: 0n };
    yield { kind: { $case: 'part', value: { tag, reference, id, totalLength, offset, data, ...first } } };
  }
}

const NOTHING = Buffer.alloc(0);

async function grantOwn(vault: Vault, request: GrantOwnRequest, caller: Caller): Promise<GrantOwnResponse> {
  return vault.grantOwn(caller, bounded(request.sourceId), request.snapshotId);
}

function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the agent sent ${what}`);
}
