import { expect } from 'chai';
import fc from 'fast-check';
import { ControllerRecord as WireRecord } from '../rpc/gen/holdfast/v1/records.ts';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import {
  decodeControllerRecord,
  encodeControllerRecord,
  MAX_CONTROLLER_RECORD_BYTES,
  MAX_SOURCE_SPEC_BYTES,
  type CommitRecord,
  type ControllerRecord,
  type LogSegmentRecord,
} from './controller-record.ts';
import type { LogRange } from './log-point.ts';

const id = seededBytes('an id', 32);
const commit: CommitRecord = {
  kind: 'commit',
  snapshotId: id,
  domainId: 'd-1',
  hostId: 'h-1',
  hostName: 'web-1',
  sourceId: 's-1',
  sourceName: 'site',
  sourceType: 'files',
  sequence: 3,
  committedAtMs: 1_790_000_000_000,
  hostRecordPublicKey: seededBytes('a key', 32),
  statistics: { entries: 1, files: 2, bytesTotal: 3, bytesRead: 4, bytesNew: 5, bytesStored: 6, durationMs: 7 },
  partial: false,
  warningsTotal: 0,
  startedAtMs: 1_789_999_990_000,
  domainName: 'default',
  domainManaged: true,
  domainKeyEpoch: 0xffff,
  sourceSpec: seededBytes('a spec', 40),
};
const stream = { systemIdentifier: '7389012345678901234', timeline: 0xffff_ffff };
const start = { order: 0x16b_3748n, text: '0/16B3748' };
const end = { order: 2n ** 64n - 1n, text: 'FFFFFFFF/FFFFFFFF' };
const logSegment: LogSegmentRecord = {
  kind: 'logSegment',
  domainId: 'd-1',
  hostId: 'h-1',
  sourceId: 's-2',
  storedAtMs: 1_790_000_000_001,
  content: {
    kind: 'segment',
    segmentId: id,
    range: {
      stream,
      start,
      end,
      file: '',
      firstCommitAtMs: 0,
      lastCommitAtMs: undefined,
      completeToMs: 1_790_000_000_000,
      marks: ['name=before the upgrade'],
      merged: true,
      ancestors: [{ parent: { ...stream, timeline: 1 }, position: start }],
    },
  },
};
const gap: LogSegmentRecord = {
  ...logSegment,
  content: { kind: 'gap', gap: { stream, start, end, fromMs: 7, toMs: 0, reason: 'the slot was dropped' } },
};
const point = {
  stream,
  start,
  end,
  startAtMs: 1,
  endAtMs: 2,
  serverVersion: '15.14',
  suspect: true,
  hasLog: true,
  gtid: '',
};
const all: ControllerRecord[] = [
  commit,
  { kind: 'lock', snapshotId: id, domainId: 'd-1', lockedUntilMs: 1_800_000_000_000, lockedAtMs: 5, lockedBy: 'alice' },
  {
    kind: 'delete',
    snapshotId: id,
    domainId: 'd-1',
    deletedAtMs: 9,
    deletedBy: 'retention',
    reason: 'older than 30 d',
  },
  logSegment,
  gap,
  { ...commit, point },
];

function rangeOf({ content }: LogSegmentRecord): LogRange {
  if (content.kind !== 'segment') throw new Error('not a piece of a log');
  return content.range;
}

describe('controller records', () => {
  it('of every kind come back as they were, always with the same bytes', () => {
    for (const record of all) {
      const payload = encodeControllerRecord(record);
      expect(decodeControllerRecord(payload)).to.deep.equal(record);
      expect(encodeControllerRecord(record).equals(payload)).to.equal(true);
      expect(payload.buffer.byteLength).to.equal(payload.length);
    }
  });

  it('of an unknown version or kind are refused, not skipped', () => {
    const wire = WireRecord.decode(encodeControllerRecord(commit));
    const bytes = (change: Partial<WireRecord>): Uint8Array => WireRecord.encode({ ...wire, ...change }).finish();
    expectError(() => decodeControllerRecord(bytes({ version: 2 })), 'UNSUPPORTED_VERSION');
    expectError(() => decodeControllerRecord(bytes({ record: undefined })), 'UNSUPPORTED_VERSION');
    // Version 1 with a record in field 30, which nobody has defined yet.
    expectError(() => decodeControllerRecord(Buffer.from([0x08, 1, 0xf2, 0x01, 0])), 'UNSUPPORTED_VERSION');
  });

  it('41 that are cut, too long or garbage are refused with a clear error', () => {
    const payload = encodeControllerRecord(commit);
    for (let length = 0; length < payload.length - 1; length++) {
      expectError(() => decodeControllerRecord(payload.subarray(0, length)), 'DAMAGED', 'UNSUPPORTED_VERSION');
    }
    expectError(() => decodeControllerRecord(Buffer.alloc(MAX_CONTROLLER_RECORD_BYTES + 1)), 'DAMAGED');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
        expectError(() => decodeControllerRecord(garbage), 'DAMAGED', 'UNSUPPORTED_VERSION');
      }),
    );
  });

  it('of a log that speak of no place, or of one that cannot be, are refused', () => {
    const wire = WireRecord.decode(encodeControllerRecord(logSegment));
    if (wire.record?.$case !== 'logSegment') throw new Error('not a log segment');
    const { value } = wire.record;
    const bytes = (change: Partial<typeof value>): Uint8Array =>
      WireRecord.encode({ ...wire, record: { $case: 'logSegment', value: { ...value, ...change } } }).finish();
    expectError(() => decodeControllerRecord(bytes({ range: undefined })), 'DAMAGED');
    expectError(
      () =>
        decodeControllerRecord(bytes({ range: { ...value.range!, start: value.range!.end, end: value.range!.start } })),
      'DAMAGED',
    );
    expectError(() => decodeControllerRecord(bytes({ segmentId: Buffer.alloc(0) })), 'DAMAGED');
  });

  it('that could not be read again are not written', () => {
    const wrong: ControllerRecord[] = [
      { ...commit, snapshotId: id.subarray(1) },
      { ...commit, hostRecordPublicKey: Buffer.alloc(33) },
      { ...commit, sequence: 0.5 },
      { ...commit, committedAtMs: Number.NaN },
      { ...commit, domainKeyEpoch: 0x1_0000 },
      { ...logSegment, content: { kind: 'segment', segmentId: id.subarray(1), range: rangeOf(logSegment) } },
    ];
    for (const record of wrong) expectError(() => encodeControllerRecord(record), 'INVALID_ARGUMENT');
    expectError(() => encodeControllerRecord({ ...commit, hostName: 'x'.repeat(4_097) }), 'LIMIT_EXCEEDED');
    const longSpec = Buffer.alloc(MAX_SOURCE_SPEC_BYTES + 1);
    expectError(() => encodeControllerRecord({ ...commit, sourceSpec: longSpec }), 'LIMIT_EXCEEDED');
  });
});
