import { expect } from 'chai';
import fc from 'fast-check';

import { massChange } from './mass-change.ts';
import {
  choosePoints,
  firstSuspicion,
  type Candidate,
  type PointRequest,
  type SourceCandidates,
} from './recovery-choice.ts';

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 5, 1);

const candidate = (hoursAgo: number, change: Partial<Candidate> = {}): Candidate => ({
  id: `${hoursAgo}`.padStart(64, '0'),
  committedAtMs: NOW - hoursAgo * HOUR,
  startedAtMs: NOW - hoursAgo * HOUR - 90_000,
  durationMs: 60_000,
  bytesTotal: 1_000_000,
  bytesNew: 10_000,
  bytesStored: 4_000,
  files: 100,
  damaged: false,
  suspect: false,
  ...change,
});
const files = (snapshots: Candidate[], source = 'files'): SourceCandidates => {
  return { source, sourceId: source, kind: 'files', logUpToMs: undefined, snapshots };
};
const request = (change: Partial<PointRequest> = {}): PointRequest => {
  return { kind: 'latest', atMs: 0, align: 'each-latest', maxAgeMs: undefined, nowMs: NOW, ...change };
};

const anySnapshots = fc
  .array(
    fc.record({
      step: fc.integer({ min: 1, max: 30 }),
      bytesNew: fc.integer({ min: 0, max: 1_000_000 }),
      files: fc.integer({ min: 0, max: 200 }),
      damaged: fc.boolean(),
      suspect: fc.boolean(),
    }),
    { maxLength: 15 },
  )
  .map((all) => {
    let ago = 0;
    return all.map(({ step, ...change }) => candidate((ago += step), change));
  });

describe('the recovery point', () => {
  it('RC1 RC2 what is chosen is stored and not damaged, not newer than asked for, and before any suspicion', () => {
    const kinds = fc.constantFrom('latest' as const, 'latest-clean' as const, 'at' as const);
    fc.assert(
      fc.property(
        fc.array(anySnapshots, { minLength: 1, maxLength: 3 }),
        kinds,
        fc.nat({ max: 300 }),
        (all, kind, ago) => {
          const sources = all.map((snapshots, index) => files(snapshots, `s${index}`));
          const atMs = NOW - ago * HOUR;
          const { sources: pinned } = choosePoints(sources, request({ kind, atMs }));
          const suspicion = firstSuspicion(sources, NOW);
          for (const one of pinned) {
            const stored = sources
              .find(({ source }) => source === one.source)!
              .snapshots.find(({ id }) => id === one.snapshotId)!;
            expect(stored.damaged).to.equal(false);
            if (kind === 'at') expect(stored.committedAtMs).to.be.at.most(atMs);
            if (kind === 'latest-clean') {
              expect(stored.suspect).to.equal(false);
              if (suspicion !== undefined) expect(stored.committedAtMs).to.be.lessThan(suspicion.atMs);
            }
          }
        },
      ),
    );
  });

  it('goes back before the hour in which most of the files were written anew, and says why', () => {
    const encrypted = [candidate(1, { bytesNew: 50_000 }), candidate(2, { bytesNew: 950_000, bytesStored: 950_000 })];
    const source = files([
      ...encrypted,
      candidate(3),
      candidate(4),
      candidate(5, { bytesNew: 1_000_000, bytesStored: 400_000 }),
    ]);
    const point = choosePoints([source], request({ kind: 'latest-clean', maxAgeMs: HOUR }));
    expect(point.sources[0]?.snapshotId).to.equal(candidate(3).id);
    expect(point.findings[0]).to.include('files changed as a whole').and.include('most of its bytes are new');
    expect(point.findings[1]).to.equal('files goes back 181 min, and the plan allows 60 min');
    expect(choosePoints([source], request()).sources[0]?.snapshotId).to.equal(candidate(1).id);
  });

  it('sees what encrypts a fifth at a time, and files that vanish; not what is usual for the source', () => {
    const first = candidate(9, { bytesNew: 1_000_000, bytesStored: 400_000 });
    const before = [first, candidate(8), candidate(7)];
    expect(massChange(candidate(6, { bytesNew: 250_000, bytesStored: 249_000 }), before)).to.include(
      'does not compress',
    );
    expect(massChange(candidate(6, { files: 30 }), before)).to.equal('most files are gone');
    expect(massChange(candidate(6), before)).to.equal(undefined);
    const busy = [first, candidate(8, { bytesNew: 700_000 }), candidate(7, { bytesNew: 800_000 })];
    expect(massChange(candidate(6, { bytesNew: 900_000, bytesStored: 900_000 }), busy)).to.equal(undefined);
    expect(massChange(candidate(6, { bytesNew: 900_000 }), [first]), 'too young to tell').to.equal(undefined);
  });

  it('MS3 of a watched tree that is encrypted bit by bit, the point is before the first bit', () => {
    const minute = 1 / 60;
    const first = candidate(30, { bytesNew: 1_000_000, bytesStored: 400_000 });
    const quiet = Array.from({ length: 10 }, (_, index) => candidate(20 + index)).toReversed();
    const bits = (bytesStored: number): Candidate[] =>
      Array.from({ length: 40 }, (_, index) => candidate(5 - index * minute, { bytesNew: 10_000, bytesStored }));
    const suspicion = (bytesStored: number) =>
      firstSuspicion([files([first, ...quiet, ...bits(bytesStored)].toReversed())], NOW);
    expect(suspicion(9_900)).to.deep.include({ source: 'files', atMs: NOW - 5 * HOUR });
    expect(suspicion(9_900)?.why).to.include('does not compress any more');
    expect(suspicion(4_000), 'a busy hour').to.equal(undefined);
    const media = [first, ...quiet].map((one) => ({ ...one, bytesStored: one.bytesNew }));
    expect(firstSuspicion([files([...media, ...bits(9_900)].toReversed())], NOW), 'it never did').to.equal(undefined);
  });

  it('MS4 what is only added is not suspected, at once or bit by bit; half of the files gone is', () => {
    const first = candidate(30, { bytesNew: 1_000_000, bytesStored: 400_000 });
    const quiet = Array.from({ length: 10 }, (_, index) => candidate(20 + index)).toReversed();
    const total = quiet.at(-1)!.bytesTotal;
    const archive = candidate(5, { bytesNew: 9 * total, bytesStored: 9 * total, bytesTotal: 10 * total });
    expect(firstSuspicion([files([first, ...quiet, archive].toReversed())], NOW)).to.equal(undefined);
    const photos = Array.from({ length: 40 }, (_, index) =>
      candidate(5 - index / 60, { bytesNew: 10_000, bytesStored: 9_900, bytesTotal: total + (index + 1) * 10_000 }),
    );
    expect(firstSuspicion([files([first, ...quiet, ...photos].toReversed())], NOW)).to.equal(undefined);
    // Files that grow, from one snapshot to the next: each has the end of them once more.
    const end = 8_000_000;
    const copied = Array.from({ length: 10 }, (_, index) => {
      const bytesNew = 50_000_000 + (index === 0 ? 0 : end);
      const bytesTotal = total + (index + 1) * 50_000_000;
      return candidate(5 - index / 600, { bytesNew, bytesStored: bytesNew, bytesTotal });
    });
    expect(firstSuspicion([files([first, ...quiet, ...copied].toReversed())], NOW)).to.equal(undefined);
    const half = candidate(4, { files: quiet[0]!.files / 2 });
    expect(firstSuspicion([files([first, ...quiet, half].toReversed())], NOW)?.why).to.equal('most files are gone');
  });

  it('MS3 of what was encrypted while a snapshot was taken, the point is before that one too', () => {
    const first = candidate(9, { bytesNew: 1_000_000, bytesStored: 400_000 });
    const part = candidate(2, { bytesNew: 100_000, bytesStored: 99_000 });
    const rest = candidate(1.99, { bytesNew: 800_000, bytesStored: 799_000 });
    const suspicion = firstSuspicion([files([rest, part, candidate(7), candidate(8), first])], NOW);
    expect(suspicion?.atMs).to.equal(part.committedAtMs);
  });

  it('a mass change of weeks ago was meant, or people have seen it', () => {
    const old = files([
      candidate(1),
      candidate(30 * 24, { bytesNew: 900_000 }),
      candidate(31 * 24),
      candidate(32 * 24),
    ]);
    expect(choosePoints([old], request({ kind: 'latest-clean' })).sources[0]?.snapshotId).to.equal(candidate(1).id);
  });

  it('RC3 consistent: databases go to the time of the files, by the clock of their host; each-latest: as far as their log', () => {
    const db: SourceCandidates = { ...files([candidate(20)], 'db'), kind: 'engine', logUpToMs: NOW - 1000 };
    const tree = files([candidate(2)]);
    const each = choosePoints([tree, db], request());
    expect(each.sources[1]).to.deep.include({ target: { kind: 'latest' }, atMs: NOW - 1000 });
    const consistent = choosePoints([tree, db], request({ align: 'consistent' }));
    const filesAt = candidate(2).committedAtMs - 60_000;
    expect(consistent.sources[1]).to.deep.include({
      target: { kind: 'time', atMs: candidate(2).startedAtMs },
      atMs: filesAt,
    });
    expect(consistent.atMs).to.equal(filesAt);
    expect(choosePoints([db], request({ align: 'consistent' })).sources[0]?.target).to.deep.equal({ kind: 'latest' });
  });

  it('a time for everything: files by the snapshot before it, a log to the moment; what has nothing then is said', () => {
    const db: SourceCandidates = { ...files([candidate(20)], 'db'), kind: 'engine', logUpToMs: NOW - 1000 };
    const point = choosePoints(
      [files([candidate(1), candidate(4)]), db, files([candidate(1)], 'young')],
      request({ kind: 'at', atMs: NOW - 3 * HOUR }),
    );
    expect(point.sources.map(({ source, snapshotId }) => `${source} ${Number(snapshotId)}`)).to.deep.equal([
      'files 4',
      'db 20',
    ]);
    expect(point.sources[1]?.target).to.deep.equal({ kind: 'time', atMs: NOW - 3 * HOUR });
    expect(point.findings).to.deep.equal(['young has no state that could be restored']);
  });

  it('a watched tree in which nothing changed stands for that time, and only its newest snapshot does', () => {
    const quiet = { ...files([candidate(2), candidate(5)]), quietUpToMs: NOW - 20_000 };
    expect(choosePoints([quiet], request()).atMs).to.equal(NOW - 20_000);
    expect(choosePoints([quiet], request({ kind: 'at', atMs: NOW - 3 * HOUR })).atMs).to.equal(NOW - 5 * HOUR - 60_000);
    const damaged = { ...quiet, snapshots: [candidate(2, { damaged: true }), candidate(5)] };
    expect(choosePoints([damaged], request()).atMs).to.equal(NOW - 5 * HOUR - 60_000);
  });
});
