import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { PLAIN_RANGE, type LogRange } from '@holdfast/shared/format/log-point';
import { open, seal } from '@holdfast/shared/format/seal';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { eventually } from '../../../testing/eventually.ts';
import { positionOf } from './lsn.ts';
import { newMergeThread } from './merge-thread.ts';
import { GROUP_BYTES, mergedRange, PieceMerger, PIECES_MAX, RUN_MAX, type StoredPiece } from './piece-merger.ts';
import type { SealedBytes } from './vault-writer.ts';

const keys = deriveDomainKeys(Buffer.alloc(32, 7), 'domain', 0);

function piece(start: bigint, bytes: Buffer, rest: Partial<LogRange> = {}): StoredPiece {
  const range: LogRange = {
    ...PLAIN_RANGE,
    stream: { systemIdentifier: '7', timeline: 1 },
    start: positionOf(start),
    end: positionOf(start + BigInt(bytes.length)),
    ...rest,
  };
  return { envelope: seal(keys, ObjectKind.logSegment, [], bytes).envelope, range };
}

describe('merging pieces of a log', () => {
  let asked: (readonly StoredPiece[])[];
  let answers: LogRange[];
  let merger: PieceMerger;
  let answer: () => Promise<SealedBytes>;

  beforeEach(() => {
    asked = [];
    answers = [];
    answer = async () => ({ id: Buffer.alloc(32), envelope: Buffer.alloc(10) });
    merger = new PieceMerger(
      (pieces) => {
        asked.push(pieces);
        return answer();
      },
      (_sealed, range) => void answers.push(range),
    );
  });

  it('M1 makes one piece of many: the same bytes, times and names', async () => {
    const bytes = randomBytes(50_000);
    const pieces = [0, 1, 2, 3, 4].map((i) =>
      piece(BigInt(i * 10_000), bytes.subarray(i * 10_000, (i + 1) * 10_000), {
        completeToMs: i,
        marks: i === 2 ? ['name=a'] : [],
        ...(i === 1 ? { firstCommitAtMs: 5, lastCommitAtMs: 7 } : {}),
        ...(i === 3 ? { firstCommitAtMs: 4, lastCommitAtMs: 6 } : {}),
      }),
    );
    const thread = newMergeThread(keys, {}, systemClock);
    try {
      for (let turn = 0; turn < 2; turn++) {
        const merged = await thread.merge(pieces);
        const opened = open(keys, merged.envelope, { id: merged.id, kind: ObjectKind.logSegment });
        expect(opened.plain.equals(bytes)).to.equal(true);
      }
    } finally {
      thread.close();
    }
    expect(mergedRange(pieces)).to.deep.include({
      start: positionOf(0n),
      end: positionOf(50_000n),
      firstCommitAtMs: 4,
      lastCommitAtMs: 7,
      completeToMs: 4,
      marks: ['name=a'],
      merged: true,
    });
  });

  it('merges a complete file of many pieces, and leaves one of few as it is', async () => {
    for (let i = 0; i < PIECES_MAX; i++) merger.stored(piece(BigInt(i), Buffer.alloc(1)), i === PIECES_MAX - 1, false);
    expect(asked).to.deep.equal([]);
    for (let i = 0; i <= PIECES_MAX; i++) merger.stored(piece(BigInt(i), Buffer.alloc(1)), i === PIECES_MAX, false);
    await eventually(() => answers.length === 1);
    expect(answers[0]).to.deep.include({ start: positionOf(0n), end: positionOf(BigInt(PIECES_MAX + 1)) });
    expect(merger.heldBytes).to.equal(0);
  });

  it('merges the many of a file that is slow to fill, and those merged again', async () => {
    let at = 0n;
    const one = (): void => merger.stored(piece(at++, Buffer.alloc(1)), false, false);
    for (let i = 0; i < RUN_MAX; i++) one();
    await eventually(() => answers.length === 1);
    merger.stored({ envelope: Buffer.alloc(10), range: answers[0]! }, false, false);
    for (let i = 0; i < 10; i++) one();
    merger.stored(piece(at, Buffer.alloc(1)), true, false);
    await eventually(() => answers.length === 2);
    expect(asked[1]?.map(({ range }) => range.merged)).to.deep.equal([
      true,
      ...Array.from({ length: 11 }, () => false),
    ]);
    expect(answers[1]).to.deep.include({ start: positionOf(0n), end: positionOf(BigInt(RUN_MAX + 11)) });
  });

  it('M1 merges nothing over a hole, another stream, or the largest object', () => {
    merger.stored(piece(0n, Buffer.alloc(100)), false, false);
    merger.stored(piece(200n, Buffer.alloc(100)), false, false);
    expect(merger.heldBytes).to.equal(piece(200n, Buffer.alloc(100)).envelope.length);
    merger.stored(piece(300n, Buffer.alloc(1), { stream: { systemIdentifier: '7', timeline: 2 } }), false, false);
    expect(merger.heldBytes).to.equal(piece(0n, Buffer.alloc(1)).envelope.length);
    const far = piece(301n, Buffer.alloc(1), {
      stream: { systemIdentifier: '7', timeline: 2 },
      end: positionOf(301n + BigInt(GROUP_BYTES)),
    });
    merger.stored(far, false, false);
    expect(merger.heldBytes).to.equal(far.envelope.length);
  });

  it('M2 spares a busy vault, and goes on when a merge failed', async () => {
    const file = (busy: boolean): void => {
      for (let i = 0; i < 20; i++) merger.stored(piece(BigInt(i), Buffer.alloc(1)), i === 19, busy);
    };
    file(true);
    expect(asked).to.deep.equal([]);
    answer = () => Promise.reject(new Error('no thread'));
    file(false);
    await eventually(() => asked.length === 1);
    answer = async () => ({ id: Buffer.alloc(32), envelope: Buffer.alloc(10) });
    await eventually(() => {
      if (asked.length === 1) file(false);
      return answers.length === 1;
    });
  });
});
