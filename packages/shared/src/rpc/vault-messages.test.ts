import { expect } from 'chai';
import fc from 'fast-check';
import { BackupRequest, ReadResponse } from './gen/holdfast/v1/vault.ts';
import { decodeBackupRequest, decodeReadResponse, encodeBackupRequest, LeanVaultDefinition } from './vault-messages.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const u32 = fc.nat(0xffff_ffff);
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

const part = fc.record({ id: bytes(40), totalLength: u32, offset: u32, data: bytes(5000), referenceProofs: bytes(64) });
const served = fc.record({
  tag: u64,
  reference: u32,
  id: bytes(40),
  totalLength: u32,
  offset: u32,
  data: bytes(5000),
  mac: bytes(40),
  pack: fc.string(),
  packOffset: u64,
});

describe('rpc/vault-messages', () => {
  it('reads parts as the generated code does', () => {
    fc.assert(
      fc.property(part, (value) => {
        const wire = BackupRequest.encode({ kind: { $case: 'part', value } }).finish();
        expect(decodeBackupRequest(wire)).to.deep.equal(BackupRequest.decode(wire));
      }),
    );
    fc.assert(
      fc.property(served, (value) => {
        const wire = ReadResponse.encode({ kind: { $case: 'part', value } }).finish();
        expect(decodeReadResponse(wire)).to.deep.equal(ReadResponse.decode(wire));
      }),
    );
  });

  it('writes what the generated code reads, one message after the other', () => {
    fc.assert(
      fc.property(part, (value) => {
        const message: BackupRequest = { kind: { $case: 'part', value } };
        expect(BackupRequest.decode(encodeBackupRequest(message))).to.deep.equal(message);
      }),
    );
    const probe: BackupRequest = { kind: { $case: 'probe', value: { batch: 7n, ids: Buffer.alloc(64, 1) } } };
    expect(BackupRequest.decode(encodeBackupRequest(probe))).to.deep.equal(probe);
  });

  it('treats every other message, and every garbled one, as the generated code does', () => {
    const outcome = (read: () => unknown): unknown => {
      try {
        return read();
      } catch {
        return 'refused';
      }
    };
    fc.assert(
      fc.property(part, fc.nat(), fc.nat(255), (value, at, byte) => {
        const wire = BackupRequest.encode({ kind: { $case: 'part', value } }).finish();
        wire[at % Math.min(wire.length, 120)] = byte;
        expect(outcome(() => decodeBackupRequest(wire))).to.deep.equal(outcome(() => BackupRequest.decode(wire)));
      }),
      { numRuns: 1000 },
    );
  });

  it('a message that was written stays as it is while others are: the transport may still hold it', () => {
    const message = (byte: number): BackupRequest => {
      const value = { id: Buffer.alloc(32, byte), totalLength: 9, offset: 0, data: Buffer.alloc(9000, byte) };
      return { kind: { $case: 'part', value: { ...value, referenceProofs: Buffer.alloc(0) } } };
    };
    const first = encodeBackupRequest(message(1));
    encodeBackupRequest(message(2));
    expect(BackupRequest.decode(first)).to.deep.equal(message(1));
  });

  it('copies nothing of a served part', () => {
    const value = {
      tag: 1n,
      reference: 2,
      id: Buffer.alloc(32),
      totalLength: 9000,
      offset: 0,
      data: Buffer.alloc(9000, 7),
    };
    const rest = { mac: Buffer.alloc(0), pack: 'p', packOffset: 3n };
    const wire = ReadResponse.encode({ kind: { $case: 'part', value: { ...value, ...rest } } }).finish();
    const { kind } = decodeReadResponse(wire);
    expect(kind?.$case === 'part' && kind.value.data.buffer === wire.buffer).to.equal(true);
  });

  it('copies nothing of a part', () => {
    const value = {
      id: Buffer.alloc(32),
      totalLength: 9000,
      offset: 0,
      data: Buffer.alloc(9000, 7),
      referenceProofs: Buffer.alloc(0),
    };
    const wire = BackupRequest.encode({ kind: { $case: 'part', value } }).finish();
    const { kind } = decodeBackupRequest(wire);
    expect(kind?.$case === 'part' && kind.value.data.buffer === wire.buffer).to.equal(true);
  });

  it('writes answers that the generated code reads, each before the next is written', () => {
    const encode = (message: ReadResponse): ReadResponse => {
      const wire = LeanVaultDefinition.methods.read.responseType.encode(message).finish();
      // As nice-grpc and grpc-js do: copied in the same turn.
      return ReadResponse.decode(Uint8Array.from(Buffer.from(wire)));
    };
    fc.assert(
      fc.property(served, (value) => {
        const message: ReadResponse = { kind: { $case: 'part', value } };
        expect(encode(message)).to.deep.equal(message);
      }),
    );
    const done: ReadResponse = { kind: { $case: 'done', value: { tag: 9n } } };
    expect(encode(done)).to.deep.equal(done);
  });
});
