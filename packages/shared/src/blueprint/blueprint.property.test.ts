import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '../base/errors.ts';
import { decodeSection, diffSections, encodeSection, factText, type FactValue } from './blueprint.ts';

const scalar = fc.oneof(fc.string(), fc.integer(), fc.boolean());
const key = fc.string({ minLength: 1 }).filter((text) => text !== '__proto__');
const value: fc.Arbitrary<FactValue> = fc.oneof(
  scalar,
  fc.array(fc.string(), { maxLength: 4 }),
  fc.dictionary(key, fc.oneof(scalar, fc.array(fc.string(), { maxLength: 3 })), { maxKeys: 4, noNullPrototype: true }),
);
const section = fc.array(fc.tuple(key, value), { maxLength: 12 }).map((facts) => new Map(facts));

describe('blueprint', () => {
  it('comes back as it was, a fact a line, whatever the order in which facts were found', () => {
    fc.assert(
      fc.property(section, (facts) => {
        const bytes = encodeSection(facts);
        expect(diffSections('x', facts, decodeSection(bytes))).to.deep.equal([]);
        const backwards = new Map(Array.from(facts).toReversed());
        expect(encodeSection(backwards).equals(bytes)).to.equal(true);
        expect(bytes.toString().split('\n').length).to.equal(Math.max(1, facts.size) + 3);
      }),
    );
  });

  it('differs from another by exactly the facts that were added, removed and changed', () => {
    fc.assert(
      fc.property(section, section, (before, after) => {
        const result = new Map(before);
        for (const change of diffSections('x', before, after)) {
          if (change.after === undefined) result.delete(change.key);
          else result.set(change.key, change.after);
        }
        expect(encodeSection(result).equals(encodeSection(after))).to.equal(true);
      }),
    );
  });

  it('refuses what is no section', () => {
    for (const bytes of ['', '[]', '{"a":null}', '{"a":{"b":{"c":1}}}', '{"a":[1]}', '"a"']) {
      expect(() => decodeSection(Buffer.from(bytes)), bytes)
        .to.throw(HoldfastError)
        .with.property('code', 'DAMAGED');
    }
  });

  it('says a fact in a line, without what is empty', () => {
    expect(factText({ version: '1.22', held: true, automatic: false })).to.equal('version 1.22, held');
    expect(factText({ uid: 33, groups: ['a', 'b'], comment: '' })).to.equal('uid 33, groups a,b');
    expect(factText(['a', 'b'])).to.equal('a, b');
  });
});
