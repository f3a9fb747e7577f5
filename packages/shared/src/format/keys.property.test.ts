import { expect } from 'chai';
import fc from 'fast-check';
import { expectError } from '../testing/expect-error.ts';
import { deriveDomainKeys, MAX_KEY_EPOCH, type DomainKeys } from './keys.ts';

const secrets = fc.uint8Array({ minLength: 32, maxLength: 32 });
const domains = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((text) => !text.includes('\0'));
const epochs = fc.nat(MAX_KEY_EPOCH);

const hexOf = (key: Uint8Array): string => Buffer.from(key).toString('hex');
const allKeys = (keys: DomainKeys): string[] => [keys.mac, keys.enc, keys.tag, keys.gear, keys.node].map(hexOf);

describe('domain keys', () => {
  it('K1 are the same for the same secret, domain and epoch, and all different from each other', () => {
    fc.assert(
      fc.property(secrets, domains, epochs, (secret, domain, epoch) => {
        const keys = allKeys(deriveDomainKeys(secret, domain, epoch));
        expect(allKeys(deriveDomainKeys(new Uint8Array(secret), domain, epoch))).to.deep.equal(keys);
        expect(new Set(keys).size).to.equal(5);
        for (const key of keys) expect(key).to.have.length(64);
      }),
    );
  });

  it('K1 of two domains, or of two secrets, have nothing in common', () => {
    fc.assert(
      fc.property(secrets, secrets, domains, domains, epochs, (secret, other, domain, otherDomain, epoch) => {
        fc.pre(domain !== otherDomain && hexOf(secret) !== hexOf(other));
        const keys = [
          ...allKeys(deriveDomainKeys(secret, domain, epoch)),
          ...allKeys(deriveDomainKeys(secret, otherDomain, epoch)),
          ...allKeys(deriveDomainKeys(other, domain, epoch)),
        ];
        expect(new Set(keys).size).to.equal(15);
      }),
    );
  });

  it('K1 do not depend on where the domain id ends and the epoch begins', () => {
    const secret = new Uint8Array(32);
    const keys = ['a', 'a\u0001', 'ab', 'b'].flatMap((domain) =>
      [0, 1, 0x61, 0x6101].flatMap((epoch) => hexOf(deriveDomainKeys(secret, domain, epoch).mac)),
    );
    expect(new Set(keys).size).to.equal(16);
  });

  it('K2 mac and enc change with the epoch; tag, gear and node never do', () => {
    fc.assert(
      fc.property(secrets, domains, epochs, epochs, (secret, domain, before, after) => {
        fc.pre(before !== after);
        const old = deriveDomainKeys(secret, domain, before);
        const rotated = deriveDomainKeys(secret, domain, after);
        expect(hexOf(rotated.mac)).to.not.equal(hexOf(old.mac));
        expect(hexOf(rotated.enc)).to.not.equal(hexOf(old.enc));
        expect([rotated.tag, rotated.gear, rotated.node].map(hexOf)).to.deep.equal(
          [old.tag, old.gear, old.node].map(hexOf),
        );
      }),
    );
  });

  it('refuse a secret of another length, an epoch out of range, and an ambiguous domain id', () => {
    const secret = new Uint8Array(32);
    for (const length of [0, 16, 31, 33, 64]) {
      expectError(() => deriveDomainKeys(new Uint8Array(length), 'd', 0), 'INVALID_ARGUMENT');
    }
    for (const epoch of [-1, 65_536, 1.5, Number.NaN])
      expectError(() => deriveDomainKeys(secret, 'd', epoch), 'INVALID_ARGUMENT');
    for (const domain of ['', 'a\0b', 'x'.repeat(256), 'é'.repeat(128)]) {
      expectError(() => deriveDomainKeys(secret, domain, 0), 'INVALID_ARGUMENT');
    }
  });

  it('survive the way into a worker thread', () => {
    const keys = deriveDomainKeys(new Uint8Array(32).fill(3), 'd', 7);
    expect(allKeys(structuredClone(keys))).to.deep.equal(allKeys(keys));
  });
});
