import { expect } from 'chai';
import fc from 'fast-check';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { BINLOG_MAGIC, fromLogPosition } from '../binlog/position.ts';
import { PieceBuilder, placesOf, type Piece } from './piece-builder.ts';

const HEADER = 19;
const ROTATE = 4;
const INTVAR = 5;
const HEARTBEAT = 27;

function event(type: number, endOffset: number, body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(type, 4);
  header.writeUInt32LE(HEADER + body.length, 9);
  header.writeUInt32LE(endOffset, 13);
  return Buffer.concat([header, body]);
}

/** What a server sends of a file with events of these lengths, and the file. */
function fileOf(name: string, bodies: readonly number[]): { sent: Buffer[]; content: Buffer } {
  const position = Buffer.alloc(8);
  position.writeUInt32LE(BINLOG_MAGIC.length);
  const sent = [event(ROTATE, 0, Buffer.concat([position, Buffer.from(name)]))];
  let content = BINLOG_MAGIC;
  for (const [index, length] of bodies.entries()) {
    const body = Buffer.from(seededBytes(`${name} ${index}`, length));
    const one = event(INTVAR, content.length + HEADER + length, body);
    content = Buffer.concat([content, one]);
    sent.push(one, event(HEARTBEAT, content.length, Buffer.from(name)));
  }
  return { sent, content };
}

const anyBodies = fc.array(fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: 300_000 })), { minLength: 1, maxLength: 8 });

describe('pieces of a binary log', () => {
  it('put together are the server’s files, however the bytes come and whenever a piece is taken', () => {
    fc.assert(
      fc.property(
        fc.array(anyBodies, { minLength: 1, maxLength: 3 }),
        fc.infiniteStream(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 200_000 }))),
        fc.infiniteStream(fc.nat({ max: 9 })),
        (files, cuts, takes) => {
          const names = files.map((_, index) => `mysql-bin.00000${index + 1}`);
          const made = files.map((bodies, index) => fileOf(names[index]!, bodies));
          const start = { file: names[0]!, offset: BINLOG_MAGIC.length };
          const found = new Map<string, Buffer>();
          const put = (piece: Piece | undefined): void => {
            if (piece === undefined) return;
            const range = { start: fromLogPosition(piece.start), end: fromLogPosition(piece.end) };
            for (const { file, offset, bytes } of placesOf(range, piece.bytes)) {
              const before = found.get(file) ?? Buffer.alloc(0);
              expect(offset).to.equal(before.length);
              found.set(file, Buffer.concat([before, bytes]));
            }
          };
          const options = {
            from: start,
            storedTo: { file: names[0]!, offset: 0 },
            expect: undefined,
            gtid: '',
            checksums: false,
          };
          const builder = new PieceBuilder(options, () => put(builder.take()));
          for (const sent of made.flatMap((one) => one.sent)) {
            for (let at = 0; at < sent.length;) {
              // As a socket's buffer: what was handed in is overwritten afterwards.
              const part = Buffer.from(sent.subarray(at, at + cuts.next().value!));
              at += part.length;
              builder.push(part, at === sent.length);
              part.fill(0xee);
              if (takes.next().value === 0) put(builder.take());
            }
          }
          put(builder.take());
          for (const [index, { content }] of made.entries()) {
            expect(found.get(names[index]!)?.equals(content), names[index]).to.equal(true);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
