import { expect } from 'chai';
import fc from 'fast-check';
import { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { SnapshotInfo, SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { summaryWords } from '../jobs/summary.ts';
import { RateMeter, progressText } from '../jobs/progress-line.ts';
import { findingWords } from './findings.ts';
import { wrapped } from './lines.ts';
import { idPrefixBytes, isIdPrefix, pathFields, pathText, typedPath } from './names.ts';
import { formatCount, formatSize, parseRate } from './sizes.ts';
import { formatFields, formatTable } from './tables.ts';
import { formatAge, formatDuration, formatTime, isoTime, parseTime, withoutSeconds } from './times.ts';
import { modeLetters, snapshotTable } from './snapshots.ts';
import { sourceWords } from './sources.ts';

describe('words for people', () => {
  it('sizes have binary units and three figures at the most', () => {
    const shown = [0, 1023, 1024, 1536, 10 * 1024, 1023.9 * 1024, 5 * 1024 ** 3, 2 ** 53].map(formatSize);
    expect(shown).to.deep.equal([
      '0 B',
      '1023 B',
      '1.00 KiB',
      '1.50 KiB',
      '10.0 KiB',
      '1.00 MiB',
      '5.00 GiB',
      '8.00 PiB',
    ]);
    expect([0, 999, 1000, 1_234_567].map(formatCount)).to.deep.equal(['0', '999', '1,000', '1,234,567']);
  });

  it('rates are read with binary and decimal units, and nonsense is refused', () => {
    expect(['10MiB/s', '500k', '1.5 GiB/s', '1MB', '42'].map(parseRate)).to.deep.equal([
      10_485_760, 512_000, 1_610_612_736, 1_000_000, 42,
    ]);
    for (const text of ['', '0', '-1', 'fast', '10 parsecs', '1e9'])
      expect(() => parseRate(text), text).to.throw('is not a rate');
  });

  it('times have the zone’s offset', () => {
    const ms = Date.UTC(2026, 10, 22, 9, 0, 5);
    expect(formatTime(ms, 60)).to.equal('2026-11-22 10:00:05 +01:00');
    expect(formatTime(ms, -570)).to.equal('2026-11-21 23:30:05 -09:30');
    expect(formatTime(0)).to.equal('never');
    expect(isoTime(0)).to.equal(null);
  });

  it('durations and ages are short', () => {
    expect([0, 12_340, 185_000, 7_620_000].map(formatDuration)).to.deep.equal([
      '0.0 s',
      '12.3 s',
      '3 min 05 s',
      '2 h 07 min',
    ]);
    const ages = [0, 30_000, 600_000, 7_200_000, 864_000_000].map((ago) =>
      formatAge(10_000_000_000 - ago, 10_000_000_000),
    );
    expect(ages).to.deep.equal(['0 s ago', '30 s ago', '10 min ago', '2 h ago', '10 d ago']);
  });

  it('times are read as ISO, in the local zone, and as a day up to its end', () => {
    expect(parseTime('2026-11-22T10:00:00Z')).to.equal(Date.UTC(2026, 10, 22, 10));
    expect(parseTime('2026-11-22 10:00:00.5+02:00')).to.equal(Date.UTC(2026, 10, 22, 8, 0, 0, 500));
    expect(parseTime('2026-11-22 10:00')).to.equal(new Date(2026, 10, 22, 10).getTime());
    expect(parseTime('2026-11-22')).to.equal(new Date(2026, 10, 23).getTime() - 1);
    for (const text of ['', 'yesterday', '2026-02-30', '2026-11-22 25:00', '2026-11-22 10:61', '22.11.2026']) {
      expect(() => parseTime(text), text).to.throw('is not a time');
    }
  });

  it('snapshot ids need eight digits; paths never have ".."', () => {
    expect(isIdPrefix('abcdef1')).to.equal(false);
    expect(isIdPrefix('ABCDEF12')).to.equal(true);
    expect(idPrefixBytes('abcdef123').toString('hex')).to.equal('abcdef12');
    expect(typedPath('/etc//./x/').toString()).to.equal('etc/x');
    expect(typedPath('.')).to.have.length(0);
    expect(() => typedPath('a/../b')).to.throw('".."');
    expect(() => typedPath('a/\\x2e\\x2e/b')).to.throw('".."');
  });

  it('source 24: what a listing shows of a name names the same bytes when typed back', () => {
    for (const hex of ['61ff', '5c', '0a1b', 'c3a4', '65cc81', '5c7830', '2d2d', 'ff5c']) {
      const bytes = Buffer.from(hex, 'hex');
      expect(typedPath(pathText(bytes)).toString('hex'), hex).to.equal(hex);
    }
    expect(pathFields(Buffer.from('ä'))).to.deep.equal({ path: 'ä' });
    expect(pathFields(Buffer.from('a\\'))).to.deep.equal({ path: 'a\\\\', pathBytes: 'YVw=' });
  });

  it('modes are written as ls writes them', () => {
    expect(modeLetters('file', 0o4755)).to.equal('-rwsr-xr-x');
    expect(modeLetters('directory', 0o1777)).to.equal('drwxrwxrwt');
    expect(modeLetters('file', 0o6644)).to.equal('-rwSr-Sr--');
    expect(modeLetters('fifo', 0)).to.equal('p---------');
  });

  it('tables and fields align without trailing blanks', () => {
    expect(
      formatTable(
        [{ title: 'A' }, { title: 'N', align: 'right' }],
        [
          ['x', '10'],
          ['long', '1'],
        ],
      ),
    ).to.equal('A      N\nx     10\nlong   1\n');
    expect(
      formatFields([
        ['One', '1'],
        ['Hidden', ''],
        ['Three', '3'],
      ]),
    ).to.equal('One:    1\nThree:  3\n');
  });

  it('a table that is too wide is said shorter, then loses what can be spared, then is cut, the longest names first', () => {
    const columns = [
      { title: 'NAME', cutTo: 4 },
      { title: 'TIME', brief: withoutSeconds },
      { title: 'MORE', spare: true },
      { title: 'ON', cutTo: 4 },
    ];
    const rows = [['abcdefghijkl', '2026-11-22 10:00:05 +01:00', 'more', 'klmnop']];
    const widths = [60, 54, 51, 46, 45, 42, 30].map((width) => {
      const lines = formatTable(columns, rows, width).trimEnd().split('\n');
      return [Math.max(...lines.map((line) => line.length)), lines[1]];
    });
    expect(widths).to.deep.equal([
      [54, 'abcdefghijkl  2026-11-22 10:00:05 +01:00  more  klmnop'],
      [54, 'abcdefghijkl  2026-11-22 10:00:05 +01:00  more  klmnop'],
      [51, 'abcdefghijkl  2026-11-22 10:00 +01:00  more  klmnop'],
      [45, 'abcdefghijkl  2026-11-22 10:00 +01:00  klmnop'],
      [45, 'abcdefghijkl  2026-11-22 10:00 +01:00  klmnop'],
      [42, 'abcdefgh…  2026-11-22 10:00 +01:00  klmnop'],
      [35, 'abc…  2026-11-22 10:00 +01:00  klm…'],
    ]);
  });

  it('sentences are broken between words and lined up, and words that are longer stand alone', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 300 }),
        fc.nat(30),
        fc.integer({ min: 30, max: 100 }),
        (text, indent, width) => {
          const words = (said: string): string[] => said.split(/[ \n]+/).filter((word) => word !== '');
          const lines = wrapped(text, indent, width).split('\n');
          expect(words(lines.join(' '))).to.deep.equal(words(text));
          for (const [at, line] of lines.entries()) {
            const own = at === 0 ? line : line.slice(indent);
            if (own.trimEnd().length > Math.max(20, width - indent)) expect(own.trim()).not.to.contain(' ');
          }
        },
      ),
    );
    expect(wrapped('a b '.repeat(60), 4)).to.equal('a b '.repeat(60));
  });

  it('what is said of a database fits into 80 columns, and is one line each where nobody looks at columns', () => {
    const position = (text: string) => ({ order: 1n, text });
    const source = SourceInfo.fromPartial({
      host: 'web-1',
      name: 'shop',
      type: 'postgres',
      state: 'gap',
      watching: 'continuous',
      watchingNote: 'the log is not followed: PostgreSQL at /run/postgresql cannot be reached: connect ENOENT',
      recoverable: {
        fromMs: 1_790_000_000_000n,
        toMs: 1_790_000_900_000n,
        gaps: [
          {
            stream: { systemIdentifier: '1', timeline: 1 },
            start: position('0/3000028'),
            end: position('0/9000028'),
            fromMs: 1_790_000_100_000n,
            toMs: 1_790_000_200_000n,
            reason: 'the slot kept more than 16 GiB while the vault could not be reached, and was dropped',
          },
        ],
      },
      log: {
        state: 'following',
        stored: position('0/9000028'),
        lagBytes: 123_456n,
        lagMs: 700n,
        slot: {
          name: 'holdfast_0123456789abcdef',
          state: 'active',
          retainedBytes: 16_777_216n,
          keepBytes: 17_179_869_184n,
        },
        note: 'a part of the log is missing, and a new base is taken',
      },
      rpoMs: 1000n,
    });
    const shown = sourceWords(source, 1_790_001_000_000, 80).trimEnd().split('\n');
    expect(shown.filter((line) => line.length > 80)).to.deep.equal([]);
    const slot = /^Slot: +(.*)$/m.exec(sourceWords(source, 1_790_001_000_000))?.[1];
    expect(slot?.length).to.be.greaterThan(80);
    expect(shown.map((line) => line.slice('Would be lost:  '.length)).join(' ')).to.contain(slot);

    const finding = {
      level: 'warning',
      subject: 'max_slot_wal_keep_size',
      message: 'no bound. '.repeat(20),
      remedy: 'x'.repeat(100),
    };
    const lines = findingWords([finding], 80).trimEnd().split('\n');
    expect(lines.filter((line) => line.length > 80)).to.deep.equal([`      ${finding.remedy}`]);

    const facts = ['manifest', 'amcheck', 'query', 'restore', 'total'].map((name) => ({
      name,
      value: 'as it should be',
    }));
    const outcome = JobOutcome.fromPartial({
      result: 'done',
      summary: {},
      reached: { position: position('0/1'), facts },
    });
    const said = summaryWords({ kind: 'verify', source: 'web-1/shop', job: null }, outcome, 80);
    expect(said.split('\n').filter((line) => line.length > 80)).to.deep.equal([]);
  });

  it('the list of snapshots fits into 80 columns, with large numbers and every note', () => {
    const stats = {
      entries: 0n,
      files: 1_234_567n,
      bytesTotal: 2n ** 60n - 1n,
      bytesRead: 0n,
      bytesNew: 2n ** 30n,
      bytesStored: 2n ** 29n,
      durationMs: 0n,
    };
    const snapshot = SnapshotInfo.fromPartial({
      id: Buffer.alloc(32, 7),
      sequence: 12345n,
      committedAtMs: 1_790_000_000_000n,
      stats,
      partial: true,
      damaged: true,
      warnings: 1234n,
    });
    const lines = snapshotTable([snapshot], 80).trimEnd().split('\n');
    expect(lines.map((line) => line.length).filter((length) => length > 80)).to.deep.equal([]);
    expect(lines[1]).to.match(/^07070707 .*damaged/);
  });

  it('a progress line never wraps, and a path shows its end', () => {
    const progress = {
      jobId: '',
      phase: 'read',
      filesDone: 12n,
      filesTotal: 100n,
      bytesDone: 1024n,
      bytesTotal: 4096n,
      bytesNew: 512n,
      bytesStored: 0n,
      currentPath: 'a/very/long/path/'.repeat(20),
    };
    for (const columns of [10, 40, 80, 200])
      expect(progressText(progress, 512, columns).length).to.be.at.most(columns - 1);
    const line = progressText(progress, 512, 120);
    expect(line).to.contain('25 %  12 of 100 files  1.00 KiB of 4.00 KiB  new 512 B  512 B/s  6.0 s left  …');
    expect(line.endsWith('long/path/')).to.equal(true);
    const narrow = progressText({ ...progress, currentPath: '' }, 512, 64);
    expect(narrow, 'what matters least is left out whole').to.equal(
      `${progress.phase.padEnd(6)}  25 %  12 of 100 files  1.00 KiB of 4.00 KiB  6.0 s left`,
    );
  });

  it('the rate follows the last seconds and survives a counter that goes back', () => {
    const meter = new RateMeter();
    expect(meter.add(0, 0)).to.equal(0);
    expect(meter.add(1000, 1000)).to.equal(1000);
    expect(meter.add(3000, 2000)).to.be.within(1000, 2000);
    expect(meter.add(0, 2100)).to.be.within(1000, 2000);
  });
});
