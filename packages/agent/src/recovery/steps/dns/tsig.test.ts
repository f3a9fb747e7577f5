import { createHmac } from 'node:crypto';
import { expect } from 'chai';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { encodeQuery, TYPE } from './message.ts';
import { encodeName } from './names.ts';
import { parseTsigKey, signMessage, verifyAnswer, type TsigKey } from './tsig.ts';

const NOW_MS = 1_790_000_000_000;
const key = parseTsigKey(Buffer.from('shop-key HMAC-SHA256. c2VjcmV0LW9mLXRoZS16b25l\n'), 'dns-key');
const question = encodeQuery(7, { name: 'www.shop.example.', type: TYPE.A });

/** What a server that has the key says to a question of that signature: written from RFC 8945 anew, with nothing of the code that is tested. */
function answered(mac: Buffer, { by = key, seconds = NOW_MS / 1000, error = 0, size = 32 } = {}): Buffer {
  const plain = Buffer.from(question);
  plain.writeUInt16BE(0x8400, 2);
  const time = Buffer.from([0, 0, 0, 0, 0, 0, 300 >> 8, 300 & 255]);
  time.writeUIntBE(seconds, 0, 6);
  const algorithm = encodeName('hmac-sha256.');
  const tail = Buffer.from([0, error, 0, 0]);
  const own = createHmac('sha256', by.secret)
    .update(Buffer.concat([Buffer.from([0, mac.length]), mac, plain]))
    .update(Buffer.concat([encodeName(by.name), Buffer.from([0, 255, 0, 0, 0, 0]), algorithm, time, tail]))
    .digest()
    .subarray(0, size);
  const data = Buffer.concat([algorithm, time, Buffer.from([0, own.length]), own, plain.subarray(0, 2), tail]);
  const record = Buffer.concat([encodeName(by.name), Buffer.from([0, 250, 0, 255, 0, 0, 0, 0, 0, data.length]), data]);
  const answer = Buffer.concat([plain, record]);
  answer.writeUInt16BE(1, 10);
  return answer;
}

describe('signed name server messages', () => {
  const { mac } = signMessage(question, key, NOW_MS);
  const other: TsigKey = { ...key, secret: Buffer.from('another') };

  it('an answer to this question under the key is taken, for as long as the clocks may differ', () => {
    verifyAnswer(answered(mac), mac, key, NOW_MS);
    verifyAnswer(answered(mac, { seconds: NOW_MS / 1000 - 299 }), mac, key, NOW_MS);
  });

  it('one that was changed, is unsigned, cut off, too old, under another key or to another question is not', () => {
    const sound = answered(mac);
    for (let at = 0; at < question.length; at++) {
      // The number is signed as it was sent first: a server on the way may give it another one.
      if (at < 2 || (at >= 10 && at < 12)) continue;
      const changed = Buffer.from(sound);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      expectError(() => verifyAnswer(changed, mac, key, NOW_MS), 'UNAUTHENTICATED', 'PROTOCOL_VIOLATION');
    }
    for (const wrong of [
      answered(mac, { by: other }),
      answered(mac, { by: { ...key, name: 'other-key.' } }),
      answered(mac, { size: 16 }),
      answered(mac, { size: 0 }),
      answered(mac, { seconds: NOW_MS / 1000 - 301 }),
      answered(mac, { seconds: NOW_MS / 1000 + 301 }),
      answered(Buffer.alloc(32)),
      question,
    ]) {
      expectError(() => verifyAnswer(wrong, mac, key, NOW_MS), 'UNAUTHENTICATED');
    }
  });

  it('a refusal of the signature is told as one', () => {
    for (const [error, word] of [
      [16, 'BADSIG'],
      [17, 'BADKEY'],
      [18, 'BADTIME'],
    ] as const) {
      const refused = expectError(
        () => verifyAnswer(answered(mac, { error, size: 0 }), mac, key, NOW_MS),
        'NOT_ALLOWED',
      );
      expect(refused.message).to.contain(word);
    }
  });

  it('a key is a name, an algorithm and base64, and what is wrong with it is said without it', () => {
    expect(key).to.deep.include({ name: 'shop-key.', algorithm: 'hmac-sha256' });
    expect(key.secret.toString()).to.equal('secret-of-the-zone');
    for (const wrong of [
      '',
      'k hmac-sha256',
      'k hmac-md5 c2VjcmV0',
      'k hmac-sha256 c2Vj!cmV0',
      'k hmac-sha256 c2VjcmV0 x',
    ]) {
      const error = expectError(() => parseTsigKey(Buffer.from(wrong), 'dns-key'), 'INVALID_ARGUMENT');
      expect(`${error.message} ${error.hint}`).not.to.contain('c2Vj');
    }
  });
});
