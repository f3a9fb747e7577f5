import { expect } from 'chai';
import { readServerMessage, statusUpdate, unixMs } from './copy-messages.ts';
import { ancestorsOf, parseHistoryFile } from './history-file.ts';
import { fileStart, formatLsn, historyFileName, parseLsn, positionOf, walFileName } from './lsn.ts';

describe('places in a log', () => {
  it('are read and written as the server does', () => {
    for (const text of ['0/0', '0/3000028', '16/B374D848', 'FFFFFFFF/FFFFFFFF']) {
      expect(formatLsn(parseLsn(text))).to.equal(text);
    }
    expect(parseLsn('16/b374d848')).to.equal(0x16_b374_d848n);
    for (const text of ['', '0', '1/123456789', '0/x', '-1/0']) expect(() => parseLsn(text)).to.throw('not a position');
    expect(positionOf(0x300_0028n)).to.deep.equal({ order: 0x300_0028n, text: '0/3000028' });
  });

  it('lie in files whose names depend on the size of a file', () => {
    const lsn = parseLsn('1/FF000028');
    expect(walFileName(1, lsn, 16 << 20)).to.equal('0000000100000001000000FF');
    expect(walFileName(2, lsn, 1 << 20)).to.equal('000000020000000100000FF0');
    expect(walFileName(0x1f, lsn, 1 << 30)).to.equal('0000001F0000000100000003');
    expect(formatLsn(fileStart(lsn, 16 << 20))).to.equal('1/FF000000');
    expect(historyFileName(10)).to.equal('0000000A.history');
  });
});

describe('a timeline history', () => {
  const text = '1\t0/5000028\tno recovery target specified\n\n# a comment\n2\t0/9000000\tbefore 2026-01-01\n';

  it('names the timelines that a timeline comes from, and where it left them', () => {
    const forks = parseHistoryFile(text);
    expect(forks.map(({ parentTimeline, switchpoint }) => [parentTimeline, formatLsn(switchpoint)])).to.deep.equal([
      [1, '0/5000028'],
      [2, '0/9000000'],
    ]);
    expect(ancestorsOf('7', forks)).to.deep.equal([
      { parent: { systemIdentifier: '7', timeline: 2 }, position: positionOf(0x900_0000n) },
      { parent: { systemIdentifier: '7', timeline: 1 }, position: positionOf(0x500_0028n) },
    ]);
    expect(parseHistoryFile('')).to.deep.equal([]);
  });

  it('is refused when it is none', () => {
    expect(() => parseHistoryFile('rubbish')).to.throw('a line that is none');
    expect(() => parseHistoryFile('2\t0/1\tx\n2\t0/2\ty')).to.throw('goes back');
  });
});

describe('messages of a replication stream', () => {
  it('are data with where they begin, or signs of life', () => {
    const data = Buffer.concat([Buffer.alloc(25), Buffer.from('log')]);
    data[0] = 0x77;
    data.writeBigUInt64BE(100n, 1);
    data.writeBigUInt64BE(200n, 9);
    data.writeBigInt64BE(1_500n, 17);
    const message = readServerMessage(data);
    expect({ ...message, bytes: undefined }).to.deep.equal({
      kind: 'data',
      start: 100n,
      serverEnd: 200n,
      sentAtMs: Date.UTC(2000, 0, 1) + 1.5,
      bytes: undefined,
    });
    expect(message.kind === 'data' && message.bytes.toString()).to.equal('log');
    const alive = Buffer.alloc(18);
    alive[0] = 0x6b;
    alive[17] = 1;
    expect(readServerMessage(alive)).to.deep.include({ kind: 'keepalive', replyWanted: true });
    expect(() => readServerMessage(Buffer.from('x'))).to.throw('that is none');
    expect(() => readServerMessage(alive.subarray(0, 17))).to.throw('that is none');
  });

  it('answer with what is safe, and never say that anything was applied', () => {
    const message = statusUpdate({ written: 7n, flushed: 5n, nowMs: unixMs(3_000n), replyWanted: false });
    expect(message[0]).to.equal(0x72);
    expect([1, 9, 17, 25].map((at) => message.readBigInt64BE(at))).to.deep.equal([7n, 5n, 0n, 3000n]);
    expect(message[33]).to.equal(0);
  });
});
