import { canonicalAddress } from '@holdfast/shared/recovery/service-address';
import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { addressOf, addressRecord, decodeMessage, deleteRecords, encodeQuery, encodeUpdate, TYPE } from './message.ts';
import { canonicalName, decodeName, encodeName } from './names.ts';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => `${labels.join('.')}.`);
const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6().filter((text) => !text.includes('.')),
);
const id = fc.nat(65_535);

describe('name server messages', () => {
  it('an update reads back as what it was made of', () => {
    fc.assert(
      fc.property(
        id,
        name,
        name,
        fc.array(address, { maxLength: 8 }),
        fc.nat(86_400),
        (number, zone, own, all, ttl) => {
          const changes = [deleteRecords(own, TYPE.A), ...all.map((one) => addressRecord(own, ttl, one))];
          const message = decodeMessage(encodeUpdate(number, zone, changes));
          expect(message).to.include({ id: number, opcode: 5, isAnswer: false });
          expect(message.questions).to.deep.equal([{ name: zone, type: TYPE.SOA }]);
          const [deleted, ...added] = message.authority;
          expect(deleted).to.include({ name: own, class: 255, ttl: 0 });
          expect(added.map((record) => addressOf(record))).to.deep.equal(all.map(canonicalAddress));
          expect(added.every((record) => record.ttl === ttl && record.name === own)).to.equal(true);
        },
      ),
    );
  });

  it('whatever arrives is read or refused, and always to its end', () => {
    const sound = encodeUpdate(7, 'shop.example.', [addressRecord('www.shop.example.', 30, '192.0.2.1')]);
    const changed = fc
      .array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
      .map((changes) => {
        const bytes = Buffer.from(sound);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    const anything = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.oneof(changed, anything), (bytes) => {
        try {
          decodeMessage(bytes);
        } catch (error) {
          if (!(error instanceof HoldfastError) || error.code !== 'PROTOCOL_VIOLATION') throw error;
        }
      }),
      { numRuns: 2000 },
    );
    for (let length = 0; length < sound.length; length++) {
      expectError(() => decodeMessage(sound.subarray(0, length)), 'PROTOCOL_VIOLATION');
    }
    expectError(() => decodeMessage(Buffer.concat([sound, Buffer.alloc(1)])), 'PROTOCOL_VIOLATION');
  });

  it('names may be abbreviated, and never point at themselves, forwards or past their length', () => {
    const base = Buffer.concat([
      encodeName('shop.example.'),
      Buffer.from([3]),
      Buffer.from('www'),
      Buffer.from([0xc0, 0]),
    ]);
    expect(decodeName(base, 14)).to.deep.equal({ name: 'www.shop.example.', end: 20 });
    for (const broken of [[0xc0, 0], [0xc0, 2, 0], [1, 97, 0xc0, 0], [64, 97], [5, 97], [0xc0], []]) {
      expectError(() => decodeName(Buffer.from(broken), 0), 'PROTOCOL_VIOLATION');
    }
    const long = Buffer.concat(
      Array.from({ length: 5 }, () => Buffer.concat([Buffer.from([63]), Buffer.alloc(63, 97)])),
    );
    expectError(() => decodeName(Buffer.concat([long, Buffer.alloc(1)]), 0), 'PROTOCOL_VIOLATION');
  });

  it('a name of a plan is a name of a host, in one spelling', () => {
    expect(canonicalName('WWW.Shop.example')).to.equal('www.shop.example.');
    expect(canonicalName('_acme.shop.example.')).to.equal('_acme.shop.example.');
    for (const wrong of ['a..b', '-a.b', 'a b', `${'a'.repeat(64)}.b`, 'a\\.b', 'abcdefg.'.repeat(32)]) {
      expectError(() => canonicalName(wrong), 'INVALID_ARGUMENT');
    }
    expect(decodeMessage(encodeQuery(1, { name: '.', type: TYPE.SOA })).questions).to.deep.equal([
      { name: '.', type: TYPE.SOA },
    ]);
  });
});
