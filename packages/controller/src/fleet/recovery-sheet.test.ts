import { randomUUID } from 'node:crypto';

import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { expect } from 'chai';

import { parseRecoverySheet, recoverySheet } from './recovery-sheet.ts';

const domain = { id: randomUUID(), name: 'acme', managed: true, keyEpoch: 3 };
const secret = seededBytes('a secret', 32);
const sheet = recoverySheet(domain, secret, new Date(0));

describe('recovery sheet', () => {
  it('reads as what it was made of, however it was typed', () => {
    const said = { id: domain.id, name: 'acme', keyEpoch: 3, secret: Buffer.from(secret) };
    expect(parseRecoverySheet(sheet, 'x')).to.deep.equal(said);
    const typed = sheet.toUpperCase().replaceAll('\n', '\r\n').replace('ACME', 'acme');
    expect(parseRecoverySheet(`${typed}\nfiled by J. D.`, 'x')).to.deep.equal(said);
  });

  it('with any digit of its id or secret changed, or cut short, is refused, and its digits are not repeated', () => {
    const end = sheet.indexOf('\nChecksum');
    const places = [...sheet.slice(0, end).matchAll(/[0-9a-f]/g)]
      .map(({ index }) => index)
      .filter((at) => (at > sheet.indexOf(domain.id) && at < sheet.indexOf('Key')) || at > sheet.indexOf('digits):'));
    expect(places.length).to.be.greaterThan(90);
    for (const at of places) {
      const other = sheet[at] === '0' ? '1' : '0';
      expect(() => parseRecoverySheet(sheet.slice(0, at) + other + sheet.slice(at + 1), 'x')).to.throw(
        /recovery sheet/,
      );
      expect(() => parseRecoverySheet(sheet.slice(0, at) + sheet.slice(at + 1), 'x')).to.throw(/recovery sheet/);
    }
    for (let length = 0; length < end; length += 7) {
      expect(() => parseRecoverySheet(sheet.slice(0, length), 'x')).to.throw(/recovery sheet in x/);
    }
    const bad = sheet.replace(/^Checksum {6}.{8}/m, 'Checksum      00000000');
    expect(() => parseRecoverySheet(bad, 'x'))
      .to.throw(/does not agree/)
      .and.not.match(/[0-9a-f]{16}/);
  });
});
