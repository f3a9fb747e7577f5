// A database's log in tests: pieces with readable content, sent to a vault's log stream, and bases that stand in it.

import { once } from 'node:events';

import { ObjectKind } from '@holdfast/shared/format/envelope';
import {
  PLAIN_RANGE,
  type DatabasePoint,
  type LogGap,
  type LogPosition,
  type LogRange,
  type LogStream,
} from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';

import type { BackupCommitted, LogStoreStream, Vault } from '../vault/contract.ts';
import { answersOf, beginOn, send, snapshotOf, someStats, type TestHost } from './vault-fixture.ts';

export const timeline1: LogStream = { systemIdentifier: '7389012345678901234', timeline: 1 };
export const timeline2: LogStream = { ...timeline1, timeline: 2 };

/** As PostgreSQL writes it. */
export function lsn(order: number | bigint): LogPosition {
  const value = BigInt(order);
  const hex = (part: bigint): string => part.toString(16).toUpperCase();
  return { order: value, text: `${hex(value >> 32n)}/${hex(value & 0xffff_ffffn)}` };
}

export function rangeOf(start: number, end: number, change: Partial<LogRange> = {}): LogRange {
  return {
    ...PLAIN_RANGE,
    stream: timeline1,
    start: lsn(start),
    end: lsn(end),
    ...change,
  };
}

export function gapOf(start: number, end: number, change: Partial<LogGap> = {}): LogGap {
  return {
    stream: timeline1,
    start: lsn(start),
    end: lsn(end),
    fromMs: 0,
    toMs: 0,
    reason: 'the slot was lost',
    ...change,
  };
}

export interface TestPiece {
  readonly range: LogRange;
  readonly id: Buffer;
  readonly envelope: Buffer;
}

export function pieceOf(
  host: TestHost,
  range: LogRange,
  text = `log ${range.start.text} ${range.end.text}`,
): TestPiece {
  const { id, envelope } = seal(host.keys, ObjectKind.logSegment, [], Buffer.from(text));
  return { range, id, envelope };
}

/** Sends a piece; resolves when the stream may go on, not when it is stored. */
export async function sendPiece(
  stream: LogStoreStream,
  { id, envelope, range }: TestPiece,
  partBytes = 1 << 20,
): Promise<void> {
  for (let offset = 0; offset < envelope.length; offset += partBytes) {
    await stream.part({
      id,
      totalLength: envelope.length,
      offset,
      data: Buffer.from(envelope.subarray(offset, offset + partBytes)),
      referenceProofs: Buffer.alloc(0),
    });
  }
  await stream.segment(id, range);
}

/** A stream, and how much of what it was sent is durable. */
export class TestLog {
  readonly stream: LogStoreStream;
  stored = 0;
  sent = 0;
  /** What ended it. */
  readonly ended: Promise<unknown>;
  readonly #news = new EventTarget();

  constructor(stream: LogStoreStream) {
    this.stream = stream;
    this.ended = this.#follow();
  }

  async send(...items: readonly (TestPiece | LogGap)[]): Promise<void> {
    for (const item of items) {
      if ('envelope' in item) await sendPiece(this.stream, item);
      else await this.stream.gap(item);
      this.sent++;
    }
  }

  /** Resolves when everything sent is durable; throws what ended the stream before. */
  async drained(): Promise<void> {
    while (this.stored < this.sent) {
      const failure = await Promise.race([this.ended, once(this.#news, 'stored').then(() => undefined)]);
      if (failure !== undefined) throw failure;
    }
  }

  async #follow(): Promise<unknown> {
    try {
      for await (const { count } of this.stream.answers) {
        this.stored = count;
        this.#news.dispatchEvent(new Event('stored'));
      }
      return new Error('the stream ended without a reason');
    } catch (error) {
      return error;
    }
  }
}

export async function openLog(vault: Vault, host: TestHost): Promise<TestLog> {
  return new TestLog(await vault.beginLog(host.caller, host.sourceId));
}

/** Stores items on a stream of their own, and closes it. */
export async function storeLog(vault: Vault, host: TestHost, ...items: readonly (TestPiece | LogGap)[]): Promise<void> {
  const log = await openLog(vault, host);
  await log.send(...items);
  await log.drained();
  log.stream.close();
}

export function pointOf(start: number, end: number, change: Partial<DatabasePoint> = {}): DatabasePoint {
  return {
    stream: timeline1,
    start: lsn(start),
    end: lsn(end),
    startAtMs: 1000,
    endAtMs: 2000,
    serverVersion: '15.14',
    suspect: false,
    hasLog: true,
    gtid: '',
    ...change,
  };
}

/** A base with a little content. */
export async function commitBase(vault: Vault, host: TestHost, point: DatabasePoint): Promise<BackupCommitted> {
  const stream = await beginOn(vault, host);
  const answers = answersOf(stream);
  answers.catch(() => undefined);
  const sequence = (stream.began.latest?.sequence ?? 0) + 1;
  const objects = snapshotOf(host, ['base'], `base ${sequence} ${point.start.text}`);
  try {
    for (const object of objects) await send(stream, object);
    const recordId = objects.at(-1)!.id;
    await stream.commit({
      recordId,
      sequence,
      stats: someStats,
      partial: false,
      warningsTotal: 0,
      startedAtMs: 1,
      point,
    });
  } finally {
    stream.close();
  }
  const last = (await answers).at(-1);
  if (last?.kind !== 'committed') throw new Error('the stream ended without a commit');
  return last.committed;
}
