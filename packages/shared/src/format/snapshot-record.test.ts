import { createPrivateKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { fromBytes } from '../base/byte-string.ts';
import { SnapshotRecord as WireRecord, SnapshotRecordBody } from '../rpc/gen/holdfast/v1/records.ts';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import {
  decodeSnapshotRecord,
  encodeSnapshotRecord,
  MAX_RECORD_WARNINGS,
  MAX_SNAPSHOT_RECORD_BYTES,
  publicKeyFromRaw,
  rawPublicKey,
  verifySnapshotRecord,
  type SnapshotRecord,
} from './snapshot-record.ts';

/** An Ed25519 key from 32 bytes: PKCS #8 (RFC 8410). */
function signingKey(seed: string): KeyObject {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seededBytes(seed, 32)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

const host = signingKey('host');
const root = seededBytes('root', 32);

const sample: SnapshotRecord = {
  domainId: 'd-1',
  hostId: 'h-1',
  sourceId: 's-1',
  sourceType: 'files',
  sequence: 7,
  previousSnapshotId: seededBytes('previous', 32),
  startedAtMs: 1_790_000_000_123,
  finishedAtMs: 1_790_000_004_567,
  statistics: { entries: 10, files: 9, bytesTotal: 8, bytesRead: 7, bytesNew: 6, bytesStored: 5, durationMs: 4 },
  partial: true,
  warningsTotal: 3,
  warnings: [
    { code: 'changed_while_read', path: 'var/log/a', message: 'changed 3 times' },
    { code: 'unreadable', path: '\xff\xfe/\x80', message: 'EACCES' },
  ],
};

const counts = fc.nat(Number.MAX_SAFE_INTEGER);
const times = fc.integer({ min: -(2 ** 45), max: 2 ** 45 });
const records: fc.Arbitrary<SnapshotRecord> = fc.record({
  domainId: fc.string(),
  hostId: fc.string(),
  sourceId: fc.string(),
  sourceType: fc.string(),
  sequence: counts,
  previousSnapshotId: fc.option(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
    { nil: undefined },
  ),
  startedAtMs: times,
  finishedAtMs: times,
  statistics: fc.record({
    entries: counts,
    files: counts,
    bytesTotal: counts,
    bytesRead: counts,
    bytesNew: counts,
    bytesStored: counts,
    durationMs: counts,
  }),
  partial: fc.boolean(),
  warningsTotal: counts,
  warnings: fc.array(
    fc.record({ code: fc.string(), path: fc.uint8Array({ maxLength: 60 }).map(fromBytes), message: fc.string() }),
    { maxLength: 5 },
  ),
});

describe('snapshot records', () => {
  it('R1 come back as they were, with byte paths, and verify with the host’s key', () => {
    fc.assert(
      fc.property(records, (record) => {
        const payload = encodeSnapshotRecord(record, root, host);
        const { record: decoded, signerPublicKey } = verifySnapshotRecord(payload, root, rawPublicKey(host));
        expect(decoded).to.deep.equal(record);
        expect(signerPublicKey.equals(rawPublicKey(host))).to.equal(true);
        expect(payload.buffer.byteLength).to.equal(payload.length);
        expect(encodeSnapshotRecord(record, root, host).equals(payload), 'deterministic').to.equal(true);
      }),
    );
  });

  it('R1 are refused under another host’s key, though that host has the domain’s keys too', () => {
    const payload = encodeSnapshotRecord(sample, root, signingKey('a compromised host'));
    decodeSnapshotRecord(payload, root);
    expectError(() => verifySnapshotRecord(payload, root, rawPublicKey(host)), 'DAMAGED');
  });

  it('R1 cannot claim a key that did not sign them', () => {
    const wire = WireRecord.decode(encodeSnapshotRecord(sample, root, host));
    const forged = SnapshotRecordBody.decode(wire.body);
    forged.sequence = 99n;
    const body = Buffer.from(SnapshotRecordBody.encode(forged).finish());
    const signed = (label: string): Buffer => {
      const message = Buffer.concat([Buffer.from(label), Buffer.of(1, 0, 0, 0), root, body]);
      return Buffer.from(WireRecord.encode({ body, signature: sign(null, message, signingKey('other')) }).finish());
    };
    expectError(
      () => verifySnapshotRecord(signed('holdfast snapshot record 1\0'), root, rawPublicKey(host)),
      'DAMAGED',
    );
  });

  it('R2 are refused with any byte changed, cut off, or appended that would be read', () => {
    const payload = encodeSnapshotRecord(sample, root, host);
    for (let at = 0; at < payload.length; at++) {
      payload[at]! ^= 0x01;
      expectError(() => verifySnapshotRecord(payload, root, rawPublicKey(host)), 'DAMAGED', 'UNSUPPORTED_VERSION');
      payload[at]! ^= 0x01;
      expectError(() => decodeSnapshotRecord(payload.subarray(0, at), root), 'DAMAGED', 'UNSUPPORTED_VERSION');
    }
    decodeSnapshotRecord(payload, root);
  });

  it('R2 are refused in front of another manifest', () => {
    const payload = encodeSnapshotRecord(sample, root, host);
    for (const other of [seededBytes('another root', 32), Buffer.alloc(0), Buffer.concat([root, root])]) {
      expectError(() => decodeSnapshotRecord(payload, other), 'DAMAGED');
    }
    expectError(() => decodeSnapshotRecord(payload, root.subarray(1)), 'INVALID_ARGUMENT');
  });

  it('R3 keep the first 1,000 warnings, fewer when they are long, and the true total', () => {
    const short = { code: 'unreadable', path: 'p', message: 'm' };
    const many = { ...sample, warningsTotal: 5_000, warnings: Array.from({ length: 5_000 }, () => short) };
    const kept = decodeSnapshotRecord(encodeSnapshotRecord(many, root, host), root).record;
    expect([kept.warnings.length, kept.warningsTotal]).to.deep.equal([MAX_RECORD_WARNINGS, 5_000]);

    const long = { code: 'unreadable', path: 'd/'.repeat(2_000), message: 'm'.repeat(500) };
    const heavy = { ...sample, warningsTotal: 5_000, warnings: Array.from({ length: 5_000 }, () => long) };
    const payload = encodeSnapshotRecord(heavy, root, host);
    expect(payload.length).to.be.below(MAX_SNAPSHOT_RECORD_BYTES);
    expect(decodeSnapshotRecord(payload, root).record.warnings.length).to.be.within(100, 200);
  });

  it('41 are refused when they are too long, not protobuf, of another version, or make no sense', () => {
    expectError(() => decodeSnapshotRecord(Buffer.alloc(MAX_SNAPSHOT_RECORD_BYTES + 1), root), 'DAMAGED');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (garbage) => {
        expectError(() => decodeSnapshotRecord(garbage, root), 'DAMAGED', 'UNSUPPORTED_VERSION');
      }),
    );
    const good = SnapshotRecordBody.decode(WireRecord.decode(encodeSnapshotRecord(sample, root, host)).body);
    const resigned = (change: Partial<SnapshotRecordBody>): Buffer => {
      const body = Buffer.from(SnapshotRecordBody.encode({ ...good, ...change }).finish());
      const message = Buffer.concat([Buffer.from('holdfast snapshot record 1\0'), Buffer.of(1, 0, 0, 0), root, body]);
      return Buffer.from(WireRecord.encode({ body, signature: sign(null, message, host) }).finish());
    };
    decodeSnapshotRecord(resigned({}), root);
    expectError(() => decodeSnapshotRecord(resigned({ version: 2 }), root), 'UNSUPPORTED_VERSION');
    expectError(() => decodeSnapshotRecord(resigned({ sequence: 1n << 60n }), root), 'DAMAGED');
    expectError(() => decodeSnapshotRecord(resigned({ statistics: undefined }), root), 'DAMAGED');
    expectError(() => decodeSnapshotRecord(resigned({ previousSnapshotId: Buffer.alloc(31) }), root), 'DAMAGED');
    expectError(() => decodeSnapshotRecord(resigned({ signerPublicKey: Buffer.alloc(31) }), root), 'DAMAGED');
    expectError(() => decodeSnapshotRecord(resigned({ hostId: 'h'.repeat(4_097) }), root), 'DAMAGED');
    const warning = { code: '', path: Buffer.alloc(0), message: '' };
    expectError(
      () => decodeSnapshotRecord(resigned({ warnings: Array.from({ length: 1_001 }, () => warning) }), root),
      'DAMAGED',
    );
  });

  it('are not written when they could not be read again', () => {
    for (const change of [
      { sequence: 1.5 },
      { sequence: -1 },
      { startedAtMs: 2 ** 60 },
      { previousSnapshotId: Buffer.alloc(5) },
    ]) {
      expectError(() => encodeSnapshotRecord({ ...sample, ...change }, root, host), 'INVALID_ARGUMENT');
    }
    expectError(() => encodeSnapshotRecord({ ...sample, domainId: 'x'.repeat(5_000) }, root, host), 'LIMIT_EXCEEDED');
    const rsa = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    expectError(() => encodeSnapshotRecord(sample, root, rsa), 'INVALID_ARGUMENT');
  });

  it('public keys go to 32 raw bytes and back', () => {
    const raw = rawPublicKey(host);
    expect(raw.length).to.equal(32);
    expect(rawPublicKey(publicKeyFromRaw(raw)).equals(raw)).to.equal(true);
    expectError(() => publicKeyFromRaw(raw.subarray(1)), 'INVALID_ARGUMENT');
  });
});
