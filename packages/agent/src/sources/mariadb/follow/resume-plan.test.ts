import { expect } from 'chai';
import type { LogEnd } from '@holdfast/shared/format/log-point';
import { toLogPosition } from '../binlog/position.ts';
import type { Anchor } from './piece-builder.ts';
import { planResume, type ServerLog } from './resume-plan.ts';
import { newStream, withAnchor, type StreamRecord } from './stream-record.ts';

const name = (n: number): string => `mysql-bin.${String(n).padStart(6, '0')}`;
const logOf = (first: number, last: number, bytes = 5000): ServerLog => ({
  server: '7',
  files: Array.from({ length: last - first + 1 }, (_, n) => ({ name: name(first + n), bytes })),
});
const anchor = (file: number, offset: number): Anchor => ({
  file: name(file),
  offset,
  length: 50,
  timestampS: 1,
  crc: 2,
});
const followed = (...anchors: Anchor[]): StreamRecord => anchors.reduce(withAnchor, newStream('7', name(1)));
const endAt = (record: StreamRecord, file: number, offset: number): LogEnd => ({
  stream: record.stream,
  start: toLogPosition({ file: name(1), offset: 0 }),
  end: toLogPosition({ file: name(file), offset }),
  completeToMs: 77,
});

describe('where to go on in a binary log', () => {
  it('begins with the file that is being written when nothing is known, and says so', () => {
    const plan = planResume(undefined, [], logOf(3, 5), 1000);
    expect(plan).to.deep.include({
      from: { file: name(5), offset: 4 },
      storedTo: { file: name(5), offset: 0 },
      gap: undefined,
    });
    expect(plan.begun).to.not.equal('');
  });

  it('M1 goes on from what is stored, by way of an event that is known', () => {
    const record = followed(anchor(2, 900), anchor(3, 1450));
    const plan = planResume(record, [endAt(record, 3, 1500)], logOf(1, 4), 1000);
    expect(plan).to.deep.include({
      from: { file: name(3), offset: 1450 },
      storedTo: { file: name(3), offset: 1500 },
      expect: anchor(3, 1450),
      begun: '',
    });
  });

  it('M1 reads through from an older file when nothing is known of the newest', () => {
    const record = followed(anchor(2, 900));
    const plan = planResume(record, [endAt(record, 3, 1500)], logOf(1, 4), 1000);
    expect(plan).to.deep.include({ from: { file: name(2), offset: 900 }, storedTo: { file: name(3), offset: 1500 } });
  });

  it('M2 another server, a shorter log, or one without anything known is another stream', () => {
    const record = followed(anchor(3, 1450));
    const end = [endAt(record, 3, 1500)];
    expect(planResume(record, end, { ...logOf(1, 4), server: '8' }, 1000).begun).to.contain('another server');
    const torn = {
      server: '7',
      files: [...logOf(1, 2).files, { name: name(3), bytes: 1400 }, { name: name(4), bytes: 300 }],
    };
    expect(planResume(record, end, torn, 1000).begun, 'also of a file before the last').to.contain('begun anew');
    expect(planResume(record, end, logOf(1, 2), 1000).begun).to.contain('begun anew');
    expect(planResume(record, end, logOf(1, 3, 1499), 1000).begun).to.contain('begun anew');
    const unknown = newStream('7', name(1));
    const plan = planResume(unknown, [endAt(unknown, 3, 1500)], logOf(1, 4), 1000);
    expect(plan.begun).to.not.equal('');
    expect(plan.record.stream).to.not.deep.equal(unknown.stream);
  });

  it('M3 what the server purged is a gap, and it goes on with the oldest file', () => {
    const record = followed(anchor(3, 1450));
    const plan = planResume(record, [endAt(record, 3, 1500)], logOf(5, 6), 1000);
    expect(plan.gap).to.deep.include({
      start: toLogPosition({ file: name(3), offset: 1500 }),
      end: toLogPosition({ file: name(5), offset: 0 }),
      fromMs: 77,
      toMs: 1000,
    });
    expect(plan).to.deep.include({
      from: { file: name(5), offset: 4 },
      storedTo: { file: name(5), offset: 0 },
      begun: '',
    });
  });

  it('a stream of which nothing is stored yet begins where it was begun', () => {
    const record = newStream('7', name(2));
    expect(planResume(record, [], logOf(1, 4), 1000)).to.deep.include({
      from: { file: name(2), offset: 4 },
      begun: '',
    });
    expect(planResume(record, [], logOf(3, 4), 1000).begun).to.contain('gone');
  });
});
