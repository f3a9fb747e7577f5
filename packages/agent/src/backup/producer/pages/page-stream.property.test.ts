import { expect } from 'chai';
import fc from 'fast-check';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Entry, Segment } from '@holdfast/shared/format/manifest/entry';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { randomNumbers } from '@holdfast/shared/testing/manifest-trees';
import type { JobReport } from '../../../jobs/job.ts';
import { PageHarness } from '../testing/page-harness.ts';
import { ProducerFixture } from '../testing/producer-fixture.ts';
import type { PageStream } from './page-stream.ts';
import { mostExtents } from './window-plan.ts';

const PAGE = 4096;
const MIB = 1024 * 1024;

describe('backup/producer: page files', function () {
  this.timeout(120_000);
  let fixture: ProducerFixture;
  beforeEach(() => (fixture = new ProducerFixture()));
  afterEach(() => fixture.remove());

  async function backUp(bytes: Buffer): Promise<JobReport> {
    const path = 'base/1/16384';
    const pieces = [200_000];
    const from = join(fixture.work, 'file');
    writeFileSync(from, bytes);
    return fixture.run([{ kind: 'pages', path, from, pieces, pageBytes: PAGE }]);
  }

  function stored(path = 'base/1/16384'): { content: Buffer; entry: Entry } {
    const { content, entry } = fixture.vault.contents(fixture.keys).get(path)!;
    return { content: content!, entry };
  }

  it('P1 P2 any sequence of updates comes back, and costs its pages', () => {
    const update = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('page' as const), at: fc.nat(), pages: fc.nat(3) }) },
      fc.record({ kind: fc.constant('zero' as const), at: fc.nat(), pages: fc.integer({ min: 1, max: 300 }) }),
      fc.record({ kind: fc.constant('grow' as const), at: fc.nat(2 * MIB), pages: fc.constant(0) }),
      fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), pages: fc.constant(0) }),
      fc.record({ kind: fc.constant('move' as const), at: fc.nat(), pages: fc.integer({ min: 1, max: 300 }) }),
    );
    const rounds = fc.array(fc.array(update, { maxLength: 12 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        rounds,
        fc.nat(3 * MIB),
        fc.array(fc.integer({ min: 1, max: 700_000 }), { minLength: 1, maxLength: 3 }),
        (drawn, size, pieces) => {
          const harness = new PageHarness(PAGE);
          try {
            let file = Buffer.from(seededBytes(`file ${size}`, size));
            harness.write((stream) => writeInPieces(stream, file, pieces));
            expect(harness.read().equals(file)).to.equal(true);
            for (const [round, updates] of drawn.entries()) {
              const before = file;
              const writtenBefore = harness.written;
              file = Buffer.from(file);
              for (const [i, { kind, at, pages }] of updates.entries()) {
                const where = file.length === 0 ? 0 : Math.floor((at % file.length) / PAGE) * PAGE;
                const length = Math.min(pages * PAGE, file.length - where);
                if (kind === 'page') seededBytes(`${round} ${i}`, length).copy(file, where);
                else if (kind === 'zero') file.fill(0, where, where + length);
                else if (kind === 'move') file.copy(file, 0, where, where + length);
                else if (kind === 'cut') file = file.subarray(0, at % (file.length + 1));
                else file = Buffer.concat([file, seededBytes(`g ${round} ${i}`, at)]);
              }
              harness.write((stream) => writeInPieces(stream, file, pieces));
              expect(harness.read().equals(file)).to.equal(true);
              expect(harness.written - writtenBefore).to.be.at.most(rewritingAllowed(changedBytes(before, file)));
            }
          } finally {
            harness.close();
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('P2 an unchanged file stores nothing; a changed page stores a page, its tag and what leads to it', async () => {
    const file = Buffer.from(seededBytes('large', 24 * MIB + 100));
    await backUp(file);
    const nodes = fixture.vault.objects.size;
    const again = await backUp(file);
    expect(again.summary).to.include({ bytesNew: 0, filesChanged: 0 });
    expect(fixture.vault.objects.size - nodes).to.be.at.most(1);
    file[9 * MIB]! ^= 1;
    const changed = await backUp(file);
    expect(changed.summary.bytesNew).to.equal(PAGE);
    expect(changed.summary.bytesStored).to.be.below(PAGE + 12_000);
    expect(stored().content.equals(file)).to.equal(true);
  });

  it('P3 extents stay under the bound over hundreds of rounds, and rewriting is paid for by many changes', () => {
    const harness = new PageHarness(PAGE);
    try {
      const random = randomNumbers(7);
      const file = Buffer.from(seededBytes('pages', 3 * MIB));
      harness.write((stream) => stream.write(file));
      const pages = file.length / PAGE;
      const atFirst = harness.written;
      let changed = 0;
      for (let round = 0; round < 300; round++) {
        const touched = new Set(Array.from({ length: 30 }, () => random(pages)));
        for (const page of touched) file.writeUInt32LE(round + 1, page * PAGE);
        changed += touched.size * PAGE;
        harness.write((stream) => stream.write(file));
        if (round % 50 > 0) continue;
        expect(harness.read().equals(file)).to.equal(true);
        for (let window = 0; window < file.length; window += MIB) {
          expect(extentsWithin([...harness.segments()], window, window + MIB)).to.be.at.most(mostExtents(MIB / PAGE));
        }
      }
      expect((harness.written - atFirst) / changed).to.be.within(1, 2.6);
    } finally {
      harness.close();
    }
  });

  it('compares with tags from the vault when the agent has lost what it knew, and stores no content', async () => {
    const file = Buffer.from(seededBytes('kept', 5 * MIB));
    await backUp(file);
    file.fill(7, 3 * MIB, 3 * MIB + PAGE);
    await backUp(file);
    fixture.forget();
    const { summary } = await backUp(file);
    expect(summary).to.include({ bytesNew: 0, filesChanged: 0 });
    file.fill(8, MIB, MIB + PAGE);
    fixture.forget();
    expect((await backUp(file)).summary.bytesNew).to.equal(PAGE);
  });

  it('keeps holes, and takes another page size for other content', async () => {
    const file = Buffer.alloc(9 * MIB);
    seededBytes('island', MIB).copy(file, 4 * MIB + 512);
    const from = join(fixture.work, 'file');
    writeFileSync(from, file);
    const hole = [[0, 4 * MIB + 512] as const, [5 * MIB + 512, 3 * MIB + 100] as const];
    const path = 'disk';
    const step = { kind: 'pages', path, from, pieces: [65_536], pageBytes: PAGE, holes: hole } as const;
    await fixture.run([step]);
    expect(stored(path).content.equals(file)).to.equal(true);
    expect(fixture.vault.segments(fixture.keys, path).map(({ kind }) => kind)).to.deep.equal([
      'hole',
      'data',
      'data',
      'hole',
      'zeros',
    ]);
    expect((await fixture.run([{ ...step, holes: [] }])).summary.bytesNew).to.equal(0);
    const other = await fixture.run([{ ...step, pageBytes: 8192 }]);
    // All is compared anew; the first MiB is, as it happens, the same chunk.
    expect(other.summary.bytesNew).to.equal(8192);
    expect(stored(path).content.equals(file)).to.equal(true);
  });

  it('several files with a changed page each share small chunks', async () => {
    const files = Array.from({ length: 40 }, (_, i) => Buffer.from(seededBytes(`table ${i}`, 300_000)));
    const run = (): Promise<JobReport> =>
      fixture.run(
        files.map((bytes, i) => {
          const from = join(fixture.work, `table-${i}`);
          writeFileSync(from, bytes);
          return { kind: 'pages', path: `t${i}`, from, pieces: [1_000_000], pageBytes: 8192 } as const;
        }),
      );
    await run();
    for (const [i, bytes] of files.entries()) bytes.fill(i + 1, 8192, 16_384);
    const { summary } = await run();
    expect(summary.bytesNew).to.equal(40 * 8192);
    const paged = files.map((_, i) => fixture.vault.segments(fixture.keys, `t${i}`)[1]!);
    const chunks = new Set(paged.map((segment) => (segment.kind === 'data' ? segment.chunk.id.toString('hex') : '')));
    expect(chunks.size).to.equal(5);
    const contents = fixture.vault.contents(fixture.keys);
    for (const [i, bytes] of files.entries()) expect(contents.get(`t${i}`)!.content!.equals(bytes)).to.equal(true);
  });
});

function writeInPieces(stream: PageStream, bytes: Buffer, pieces: readonly number[]): void {
  for (let i = 0, at = 0; at < bytes.length; i++) {
    const length = pieces[i % pieces.length]!;
    stream.write(bytes.subarray(at, at + length));
    at += length;
  }
}

function changedBytes(before: Buffer, after: Buffer): Map<number, number> {
  const byWindow = new Map<number, number>();
  for (let at = 0; at < after.length; at += PAGE) {
    const page = after.subarray(at, at + PAGE);
    if (page.every((byte) => byte === 0) || page.equals(before.subarray(at, at + PAGE))) continue;
    const window = Math.floor(at / MIB);
    byWindow.set(window, (byWindow.get(window) ?? 0) + page.length);
  }
  return byWindow;
}

/** Few rounds: no window of 256 pages is near its bound of 192 extents, but a short one at the end may be. */
function rewritingAllowed(byWindow: Map<number, number>): number {
  let bytes = 0;
  for (const changed of byWindow.values()) bytes += changed;
  return bytes === 0 ? 32 * PAGE : bytes + 32 * PAGE;
}

function extentsWithin(list: readonly Segment[], from: number, to: number): number {
  let at = 0;
  let count = 0;
  for (const segment of list) {
    const end = at + segment.length;
    if (segment.kind === 'data' && at < to && end > from) count++;
    at = end;
  }
  return count;
}
