import { expect } from 'chai';

import { decodeEnrolmentToken, encodeEnrolmentToken } from './enrolment-token.ts';

describe('enrolment token', () => {
  const token = { address: 'backup.example.net:7400', caFingerprint: 'ab'.repeat(32), secret: Buffer.alloc(32, 7) };
  const word = encodeEnrolmentToken(token);

  it('is one word that gives back address, fingerprint and secret', () => {
    expect(word).to.match(/^hfe_[A-Za-z0-9_-]+$/);
    expect(decodeEnrolmentToken(`  ${word}\n`)).to.deep.equal(token);
  });

  it('tells a mangled copy: any character changed, lost or added', () => {
    for (let i = 4; i < word.length; i++) {
      const other = word[i] === 'A' ? 'B' : 'A';
      const changed = word.slice(0, i) + other + word.slice(i + 1);
      // The last character of base64url may hold unused bits.
      if (Buffer.from(changed.slice(4), 'base64url').equals(Buffer.from(word.slice(4), 'base64url'))) continue;
      expect(() => decodeEnrolmentToken(changed), `character ${i}`).to.throw(/not a whole/);
    }
    for (const broken of [word.slice(0, -4), `${word}AAAA`, word.slice(4), '', 'hfe_', `hfe_${'A'.repeat(5000)}`]) {
      expect(() => decodeEnrolmentToken(broken)).to.throw(/not a whole/);
    }
  });
});
