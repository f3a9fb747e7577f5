import { expect } from 'chai';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { PLAIN_RANGE, type LogRange } from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';
import type { LogReadSession } from '../../../link/log-port.ts';
import { KeyRing } from '../../../restore/key-ring.ts';
import { positionOf } from '../log/lsn.ts';
import { openWalSource, type WalSource } from './wal-files.ts';

const FILE_BYTES = 4096;
const BASE_START = 0x1800n;
const END = 0x3400n;
const FILE_NAMES = [1, 2, 3];
const secret = Buffer.alloc(32, 7);
const keys = deriveDomainKeys(secret, 'domain', 1);
const stream = { systemIdentifier: '42', timeline: 1 };

interface Piece {
  readonly from: bigint;
  readonly to: bigint;
}

/** Every byte tells its place. */
function bytesOf({ from, to }: Piece): Buffer {
  return Buffer.from(Array.from({ length: Number(to - from) }, (_, index) => ((Number(from) + index) % 251) + 1));
}

function rangeOf({ from, to }: Piece): LogRange {
  return { stream, start: positionOf(from), end: positionOf(to), ...PLAIN_RANGE };
}

function sessionOf(pieces: readonly Piece[]): LogReadSession {
  const stored = pieces.map((piece) => {
    const { id, envelope } = seal(keys, ObjectKind.logSegment, [], bytesOf(piece));
    return { id, envelope: Buffer.from(envelope), range: rangeOf(piece) };
  });
  return {
    async *list() {
      for (const { id, range, envelope } of stored) yield { id, range, length: envelope.length };
    },
    async *fetch(ids) {
      for (const id of ids) yield stored.find((one) => Buffer.from(one.id).equals(id))!;
    },
    close: () => undefined,
  };
}

function sourceOf(...cuts: (readonly [bigint, bigint])[]): Promise<WalSource> {
  return sourceUpTo(END, cuts);
}

function sourceUpTo(end: bigint, cuts: readonly (readonly [bigint, bigint])[]): Promise<WalSource> {
  return openWalSource({
    session: sessionOf(cuts.map(([from, to]) => ({ from, to }))),
    keys: new KeyRing(secret, 'domain'),
    base: { stream, start: positionOf(BASE_START) },
    stream,
    end: positionOf(end),
    fileBytes: FILE_BYTES,
  });
}

async function outcomes(source: WalSource): Promise<string[]> {
  return Promise.all(
    source.names.map((name) =>
      source.file(name).then(
        () => 'whole',
        (error: Error) => error.message,
      ),
    ),
  );
}

describe('files of a log from the pieces that are stored', () => {
  it('hold every byte at its place, and zeros behind the end', async () => {
    const source = await sourceOf([0x1000n, 0x1900n], [0x1900n, 0x2100n], [0x2100n, 0x3000n], [0x3000n, 0x3800n]);
    expect(source.names.length).to.equal(FILE_NAMES.length);
    const files = await Promise.all(source.names.map((name) => source.file(name)));
    const expected = Buffer.concat([bytesOf({ from: 0x1000n, to: END }), Buffer.alloc(0x4000 - Number(END))]);
    expect(Buffer.concat(files.map((file) => file!)).equals(expected)).to.equal(true);
  });

  it('need nothing from before the base', async () => {
    expect(await outcomes(await sourceOf([BASE_START, 0x3800n]))).to.deep.equal(['whole', 'whole', 'whole']);
  });

  const holes: readonly [string, number, string, (readonly [bigint, bigint])[]][] = [
    [
      'within a file',
      1,
      '0/2400',
      [
        [0x1000n, 0x2400n],
        [0x2500n, 0x3800n],
      ],
    ],
    [
      'at the beginning of a file',
      1,
      '0/2000',
      [
        [0x1000n, 0x2000n],
        [0x2100n, 0x3800n],
      ],
    ],
    ['at the end', 2, '0/3200', [[0x1000n, 0x3200n]]],
    ['where the base begins', 0, '0/1800', [[0x1900n, 0x3800n]]],
    [
      'of a whole file',
      1,
      '0/2000',
      [
        [0x1000n, 0x2000n],
        [0x3000n, 0x3800n],
      ],
    ],
  ];
  for (const [where, file, position, cuts] of holes) {
    it(`are damaged by a hole ${where}, which is named`, async () => {
      const found = await outcomes(await sourceOf(...cuts));
      const expected = FILE_NAMES.map(() => 'whole');
      expected[file] = `the log from ${position} on timeline 1 is not in the vault`;
      expect(found).to.deep.equal(expected);
    });
  }

  it('are not counted out to an end that a hostile vault made up', async () => {
    let message = '';
    await sourceUpTo((1n << 64n) - 1n, [[0x1000n, END]]).catch((error: Error) => (message = error.message));
    expect(message).to.match(/^the log to replay would be \d+ files/);
  });

  it('lays down no file of a name that a hostile vault made up', async () => {
    const honest = sessionOf([{ from: 0x1000n, to: END }]);
    const named: LogReadSession = {
      ...honest,
      async *list(...wanted) {
        for await (const segment of honest.list(...wanted)) {
          yield segment;
          for (const file of ['../../../etc/cron.d/x.history', '00000002.history']) {
            yield { ...segment, range: { ...segment.range, file } };
          }
        }
      },
    };
    const base = { stream, start: positionOf(BASE_START) };
    const order = { keys: new KeyRing(secret, 'domain'), base, stream, end: positionOf(END), fileBytes: FILE_BYTES };
    const source = await openWalSource({ session: named, ...order });
    expect(source.histories).to.deep.equal(['00000002.history']);
    expect(await source.file('../../../etc/cron.d/x.history')).to.equal(undefined);
  });
});
