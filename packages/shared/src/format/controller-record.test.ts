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
const logSegment: LogSegmentRecord = {
  kind: 'logSegment',
  segmentId: id,
  domainId: 'd-1',
  hostId: 'h-1',
  sourceId: 's-2',
  systemIdentifier: '7389012345678901234',
  timeline: 0xffff_ffff,
  startPosition: '0/16B3748',
  endPosition: '0/2000000',
  lastCommitAtMs: 0,
  sentAtMs: undefined,
  storedAtMs: 1_790_000_000_001,
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
  { ...logSegment, lastCommitAtMs: undefined, sentAtMs: -1 },
];

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

  it('that could not be read again are not written', () => {
    const wrong: ControllerRecord[] = [
      { ...commit, snapshotId: id.subarray(1) },
      { ...commit, hostRecordPublicKey: Buffer.alloc(33) },
      { ...commit, sequence: 0.5 },
      { ...commit, committedAtMs: Number.NaN },
      { ...commit, domainKeyEpoch: 0x1_0000 },
      { ...logSegment, timeline: 2 ** 32 },
    ];
    for (const record of wrong) expectError(() => encodeControllerRecord(record), 'INVALID_ARGUMENT');
    expectError(() => encodeControllerRecord({ ...commit, hostName: 'x'.repeat(4_097) }), 'LIMIT_EXCEEDED');
    const longSpec = Buffer.alloc(MAX_SOURCE_SPEC_BYTES + 1);
    expectError(() => encodeControllerRecord({ ...commit, sourceSpec: longSpec }), 'LIMIT_EXCEEDED');
  });
});
