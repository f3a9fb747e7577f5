// The last bytes that were stored of a log, kept in the agent's state directory: by them a server is known again.
//
// Hazard: another history on the same timeline. A server that was brought back to an earlier state (a snapshot of its disk, a copy
// of its directory, a crash without fsync) writes other bytes at positions that are stored already. Once it is past them nothing but
// these bytes tells, and a log that went on there would be two histories in one: no restore replays it over the seam.
//
// Invariants (log-tail.test.ts): A1 however the bytes come, the same ones pass and others throw OtherHistory; A2 what a switch of
// files leaves empty is no tail: it is the same in every history; A3 what can't be read is no tail.

import { createHash, randomUUID, type Hash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { LogStream } from '@holdfast/shared/format/log-point';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { z } from 'zod';
import { replaceFileDurably } from '../../../link/durable-file.ts';
import { positionOf } from './lsn.ts';

export interface LogTail {
  readonly stream: LogStream;
  readonly start: bigint;
  readonly end: bigint;
  /** SHA-256 of the server's bytes between, hexadecimal. */
  readonly digest: string;
}

const TAIL_BYTES = 512;
const SAVE_MS = 5000;
const FOLDER = 'postgres-log';

const schema = z.object({
  systemIdentifier: z.string().max(128),
  timeline: z.int().nonnegative(),
  start: z.string().regex(/^\d{1,20}$/),
  end: z.string().regex(/^\d{1,20}$/),
  digest: z.string().length(64),
});

/** The server has other bytes than those that were stored. */
export class OtherHistory extends HoldfastError {
  constructor(tail: LogTail) {
    super(
      'FAILED_PRECONDITION',
      `the server was brought back to an earlier state: its log before ${positionOf(tail.end).text} is not the one that is stored`,
    );
  }
}

/** Of a piece that begins at `start`. Undefined for one that is empty to its end. */
export function tailOf(stream: LogStream, start: bigint, bytes: Buffer): LogTail | undefined {
  let to = bytes.length;
  while (to > 0 && bytes[to - 1] === 0) to--;
  if (to === 0) return undefined;
  const from = Math.max(0, to - TAIL_BYTES);
  const digest = createHash('sha256').update(bytes.subarray(from, to)).digest('hex');
  return { stream, start: start + BigInt(from), end: start + BigInt(to), digest };
}

/** Compares what the server sends, in order and from before the tail on. */
export class TailCheck {
  readonly #tail: LogTail;
  #hash: Hash | undefined = createHash('sha256');

  constructor(tail: LogTail) {
    this.#tail = tail;
  }

  /** Throws OtherHistory. */
  push(start: bigint, bytes: Buffer): void {
    if (this.#hash === undefined) return;
    const { start: first, end, digest } = this.#tail;
    const behind = start + BigInt(bytes.length);
    const from = start > first ? start : first;
    const to = behind < end ? behind : end;
    if (from < to) this.#hash.update(bytes.subarray(Number(from - start), Number(to - start)));
    if (behind < end) return;
    const found = this.#hash.digest('hex');
    this.#hash = undefined;
    if (found !== digest) throw new OtherHistory(this.#tail);
  }
}

export interface TailKeeperDeps {
  readonly stateDir: string;
  readonly sourceId: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps the tail of what is stored, written down now and then: an older one is as good, but for what was stored since. */
export class TailKeeper {
  readonly #deps: TailKeeperDeps;
  #unsaved: LogTail | undefined;
  #savedAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: TailKeeperDeps) {
    this.#deps = deps;
  }

  /** What an earlier follower left; undefined: nothing that can be read. */
  load(): LogTail | undefined {
    const { stateDir, sourceId } = this.#deps;
    try {
      const kept = schema.parse(JSON.parse(readFileSync(join(stateDir, FOLDER, fileOf(sourceId)), 'utf8')));
      const { systemIdentifier, timeline, digest } = kept;
      return { stream: { systemIdentifier, timeline }, start: BigInt(kept.start), end: BigInt(kept.end), digest };
    } catch {
      return undefined;
    }
  }

  stored(tail: LogTail | undefined): void {
    if (tail !== undefined) this.#unsaved = tail;
  }

  /** May be called at any rate. @param now whenever the last time was */
  save(now: boolean): void {
    const { clock, stateDir, sourceId, log } = this.#deps;
    const tail = this.#unsaved;
    if (tail === undefined || (!now && clock.monotonicMs() - this.#savedAtMs < SAVE_MS)) return;
    this.#unsaved = undefined;
    this.#savedAtMs = clock.monotonicMs();
    const { stream, start, end, digest } = tail;
    const folder = join(stateDir, FOLDER);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const text = JSON.stringify({ ...stream, start: String(start), end: String(end), digest });
      replaceFileDurably(folder, fileOf(sourceId), Buffer.from(text), randomUUID());
    } catch (error) {
      // The one before stays, and serves.
      log.warn('postgres.state-not-kept', { sourceId, error: toHoldfastError(error) });
    }
  }
}

function fileOf(sourceId: string): string {
  return `${sourceId}.tail.json`;
}
