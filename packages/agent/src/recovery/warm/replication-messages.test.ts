import { expect } from 'chai';
import fc from 'fast-check';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { MessageReader, row, walData } from './replication-messages.ts';

function framed(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), head, body]);
}

const startup = framed('', Buffer.concat([Buffer.from([0, 3, 0, 0]), Buffer.from('user\0holdfast\0\0')]));
const query = (text: string): Buffer => framed('Q', Buffer.from(`${text}\0`));
const status = (): Buffer => {
  const body = Buffer.alloc(34);
  body.write('r');
  body.writeBigUInt64BE(3n, 1);
  body.writeBigUInt64BE(2n, 9);
  body.writeBigUInt64BE(1n, 17);
  return framed('d', body);
};

describe('what a standby’s receiver says', () => {
  const all = Buffer.concat([
    startup,
    query('IDENTIFY_SYSTEM'),
    query('TIMELINE_HISTORY 3'),
    query('START_REPLICATION 0/3000000 TIMELINE 2'),
    status(),
    framed('c', Buffer.alloc(0)),
    query('DROP_REPLICATION_SLOT "a"'),
    framed('X', Buffer.alloc(0)),
  ]);
  const wanted = [
    { kind: 'startup' },
    { kind: 'identify' },
    { kind: 'history', timeline: 3 },
    { kind: 'start', at: 0x300_0000n, timeline: 2 },
    { kind: 'status', flushed: 2n, applied: 1n },
    { kind: 'copy-done' },
    { kind: 'other', text: 'DROP_REPLICATION_SLOT "a"' },
    { kind: 'end' },
  ];

  it('RM1 is understood however it is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 60 }), (cuts) => {
        const reader = new MessageReader();
        const found = [];
        let at = 0;
        for (const cut of cuts) found.push(...reader.take(all.subarray(at, (at += cut))));
        found.push(...reader.take(all.subarray(at)));
        expect(found).to.deep.equal(wanted);
      }),
    );
  });

  it('RM2 is refused when no receiver would say it', () => {
    expectError(() => new MessageReader().take(Buffer.from([0x7f, 0xff, 0xff, 0xff])), 'PROTOCOL_VIOLATION');
    const wantsTls = framed('', Buffer.from([0x04, 0xd2, 0x16, 0x2f]));
    expectError(() => new MessageReader().take(wantsTls), 'PROTOCOL_VIOLATION');
  });

  it('is answered in the forms of the protocol', () => {
    const data = walData(16n, 32n, 946_684_800_001, Buffer.from('log'));
    expect(data.toString('latin1', 0, 1)).to.equal('d');
    expect(data.readUInt32BE(1)).to.equal(data.length - 1);
    expect([data.readBigInt64BE(6), data.readBigInt64BE(14), data.readBigInt64BE(22)]).to.deep.equal([16n, 32n, 1000n]);
    const answer = row([['dbname', undefined]], 'IDENTIFY_SYSTEM');
    expect(answer.indexOf(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x43]))).to.be.greaterThan(0);
  });
});
