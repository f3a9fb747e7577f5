import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { PLAIN_RANGE, type LogRange } from '@holdfast/shared/format/log-point';
import type { LogSession, SealedLogSegment } from '../../../link/log-port.ts';
import { eventually } from '../../../testing/eventually.ts';
import { positionOf } from './lsn.ts';
import { VaultWriter, type Outgoing } from './vault-writer.ts';

const stream = { systemIdentifier: '7', timeline: 1 };

function rangeAt(start: number, end: number): LogRange {
  return {
    ...PLAIN_RANGE,
    stream,
    start: positionOf(BigInt(start)),
    end: positionOf(BigInt(end)),
  };
}

describe('writing a log to the vault', () => {
  let sent: SealedLogSegment[];
  let room: PromiseWithResolvers<void>;
  let ended: PromiseWithResolvers<void>;
  let session: LogSession;
  let writer: VaultWriter;
  let told: number[];

  beforeEach(() => {
    sent = [];
    told = [];
    room = Promise.withResolvers<void>();
    room.resolve();
    ended = Promise.withResolvers<void>();
    session = {
      ends: [],
      baseNeeded: false,
      windowBytes: 1,
      onStored: () => undefined,
      send: async (segment) => {
        sent.push(segment);
        await room.promise;
      },
      gap: async () => undefined,
      ended: () => ended.promise,
      close: () => undefined,
    };
    const seal = (plain: Uint8Array) => ({ id: Buffer.alloc(32), envelope: Buffer.from(plain) });
    writer = new VaultWriter(session, seal, { take: async () => {} });
  });
  const piece = (start: number, end: number): Outgoing => ({
    range: () => rangeAt(start, end),
    content: Buffer.alloc(end - start, start),
    heldBytes: end - start,
    stored: (_sealed, range) => void told.push(Number(range.end.order)),
  });

  it('V1 V2 sends in order, tells once what is stored, and counts what is not', async () => {
    writer.write(piece(0, 10));
    writer.write(piece(10, 30));
    expect(writer.heldBytes).to.equal(30);
    await eventually(() => sent.length === 2);
    expect(sent.map(({ range }) => range.end.order)).to.deep.equal([10n, 30n]);
    session.onStored(1);
    session.onStored(1);
    expect(told).to.deep.equal([10]);
    expect(writer.heldBytes).to.equal(20);
    const drained = writer.drained();
    session.onStored(2);
    await drained;
    expect(told).to.deep.equal([10, 30]);
    expect(writer.heldBytes).to.equal(0);
  });

  it('V1 counts a gap among what is stored, and waits while the vault has no room', async () => {
    await writer.gap({ ...rangeAt(0, 5), fromMs: 0, toMs: 0, reason: '' });
    session.onStored(1);
    room = Promise.withResolvers<void>();
    for (let at = 5; at < 9; at++) writer.write(piece(at, at + 1));
    await eventually(() => sent.length === 1);
    expect(writer.waiting).to.equal(3);
    room.resolve();
    await eventually(() => sent.length === 4);
    session.onStored(3);
    expect(told).to.deep.equal([6, 7]);
  });

  it('V3 tells nothing after the session ended, and every wait ends with its error', async () => {
    writer.write(piece(0, 10));
    const drained = writer.drained().then(
      () => '',
      (error: HoldfastError) => error.code,
    );
    await eventually(() => sent.length === 1);
    ended.reject(new HoldfastError('UNREACHABLE', 'gone'));
    expect(await drained).to.equal('UNREACHABLE');
    session.onStored(1);
    expect(told).to.deep.equal([]);
    writer.write(piece(10, 20));
    expect(writer.waiting).to.equal(0);
    expect(await writer.drained().catch((error: HoldfastError) => error.code)).to.equal('UNREACHABLE');
  });
});
