import { expect } from 'chai';
import { lostOrders, overlaps, parseLines, reportOf, type HostWrite, type OrderAttempt } from './load-report.ts';

let count = 0;
const placed = (host: string, sentMs: number, endedMs = sentMs + 10): OrderAttempt => {
  return { sentAt: '', sentMs, endedMs, status: 201, id: `${host}-${++count}`, host };
};
const refused = (sentMs: number, endedMs = sentMs + 10): OrderAttempt => ({ sentAt: '', sentMs, endedMs, status: 0 });
const write = (host: string, began: number, committed: number | null): HostWrite => {
  return { host, id: `${host}${began}`, began, committed };
};

describe('what customers saw', () => {
  it('an outage lasts from the last acknowledged order to the next one', () => {
    const report = reportOf([placed('a', 0), placed('a', 100), refused(500, 2000), refused(2000), placed('b', 7000)]);
    expect(report.outages).to.deep.equal([{ fromMs: 110, toMs: 7010, lengthMs: 6900 }]);
    expect(report.withoutServiceMs).to.equal(6900);
    expect(report.turns).to.deep.equal([
      { host: 'a', fromMs: 10, toMs: 110, orders: 2 },
      { host: 'b', fromMs: 7010, toMs: 7010, orders: 1 },
    ]);
    expect(report).to.include({ attempts: 5, acknowledged: 3 });
  });

  it('one that nothing ends, and one from the very beginning, count too', () => {
    expect(reportOf([placed('a', 0), refused(100, 9010)]).outages).to.deep.equal([
      { fromMs: 10, toMs: undefined, lengthMs: 9000 },
    ]);
    expect(reportOf([refused(0), placed('a', 5000)]).withoutServiceMs).to.equal(5010);
    expect(reportOf([]).withoutServiceMs).to.equal(0);
  });

  it('an acknowledged order that is not there is lost, one that was never acknowledged is not', () => {
    const [kept, gone] = [placed('a', 0), placed('a', 20)];
    expect(lostOrders([gone, kept, refused(40)], new Set([kept.id!]))).to.deep.equal([gone]);
  });
});

describe('whether two hosts took writes at once', () => {
  it('one after the other is none', () => {
    expect(overlaps([write('a', 0, 10), write('a', 5, 30), write('b', 31, 40)], 1)).to.deep.equal([]);
  });

  it('two writes under way at once are, however short the second is', () => {
    const [long, short] = [write('a', 0, 100), write('b', 50, 51)];
    expect(overlaps([short, write('a', 1, 2), long], 1)).to.deep.equal([{ first: long, second: short }]);
  });

  it('a host that writes again after another took over is, though no two writes meet', () => {
    const late = write('a', 40, 50);
    const writes = [write('a', 0, 10), write('b', 20, 30), late];
    expect(overlaps(writes, 1)).to.have.length(1).with.nested.property('[0].second', late);
    expect(overlaps(writes, 2)).to.deep.equal([]);
  });

  it('a write that failed took nothing', () => {
    expect(overlaps([write('a', 0, null), write('b', 0, 10)], 0)).to.deep.equal([]);
  });

  it('a line that a kill has cut is left out, also when something stands behind it', () => {
    expect(parseLines('{"a":1}\n{"b"\n{"c":3}\n{"d":')).to.deep.equal([{ a: 1 }, { c: 3 }]);
  });
});
