import { expect } from 'chai';
import fc from 'fast-check';
import { diffHunks, diffLines } from './line-diff.ts';

const texts = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 12 });

describe('differences of texts', () => {
  it('D1 either text is what is left without the other one’s lines, and what is in both stays', () => {
    fc.assert(
      fc.property(texts, texts, (before, after) => {
        const lines = diffLines(before, after);
        expect(lines.filter(({ sign }) => sign !== '+').map(({ text }) => text)).to.deep.equal(before);
        expect(lines.filter(({ sign }) => sign !== '-').map(({ text }) => text)).to.deep.equal(after);
        for (const { sign, text, line } of lines) expect((sign === '-' ? before : after)[line - 1]).to.equal(text);
        if (before.join() === after.join()) expect(lines.every(({ sign }) => sign === ' ')).to.equal(true);
      }),
    );
  });

  it('shows a few lines around a change, and changes that are near in one piece', () => {
    const before = Array.from({ length: 40 }, (_, at) => `line ${at + 1}`);
    const after = before.with(4, 'five').with(6, 'seven').toSpliced(30, 1);
    const hunks = diffHunks(before, after);
    expect(hunks.map(({ line, lines }) => [line, lines.length])).to.deep.equal([
      [2, 11],
      [28, 7],
    ]);
    expect(hunks[1]!.lines.find(({ sign }) => sign === '-')).to.deep.include({ text: 'line 31', line: 31 });
  });
});
