import { expect } from 'chai';
import fc from 'fast-check';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import { BUNDLE_FILE_LIMIT_BYTES, BUNDLE_MAX_BYTES, BUNDLE_MIN_BYTES, bundleCloses } from './bundle.ts';
import { deriveDomainKeys } from './keys.ts';
import { tagOf } from './tag.ts';

const KIB = 1024;
const keys = deriveDomainKeys(new Uint8Array(32).fill(4), 'bundles', 0);

interface SmallFile {
  tag: Buffer;
  size: number;
}

function files(seed: string, count: number, meanBytes = 12 * KIB): SmallFile[] {
  const random = seededBytes(seed, count * 2);
  return Array.from({ length: count }, (_, i) => {
    const size = Math.min(BUNDLE_FILE_LIMIT_BYTES - 1, Math.floor((random.readUInt16LE(i * 2) / 32_768) * meanBytes));
    return { size, tag: tagOf(keys, Buffer.from(`${seed}/${i}`)) };
  });
}

interface Bundle {
  name: string;
  size: number;
}

function bundle(sequence: readonly SmallFile[]): Bundle[] {
  const bundles: Bundle[] = [];
  let current: Bundle = { name: '', size: 0 };
  for (const file of sequence) {
    current = { name: current.name + file.tag.toString('hex'), size: current.size + file.size };
    if (!bundleCloses(current.size, file.tag)) continue;
    bundles.push(current);
    current = { name: '', size: 0 };
  }
  if (current.name !== '') bundles.push(current);
  return bundles;
}

describe('bundles', () => {
  it('B1 close exactly by the rule', () => {
    const lengths = fc.oneof(
      fc.nat(3 * 1024 * KIB),
      fc.constantFrom(BUNDLE_MIN_BYTES - 1, BUNDLE_MIN_BYTES, BUNDLE_MAX_BYTES - 1, BUNDLE_MAX_BYTES),
    );
    fc.assert(
      fc.property(lengths, fc.uint8Array({ minLength: 16, maxLength: 16 }), (length, tag) => {
        const value = BigInt(Buffer.from(tag).readUInt32LE(0));
        const byRule = length >= 2_097_152 || (length >= 65_536 && value * 4_194_304n < (1n << 32n) * BigInt(length));
        expect(bundleCloses(length, tag)).to.equal(byRule);
      }),
      { numRuns: 2_000 },
    );
  });

  it('B1 close at the bound itself on the right side', () => {
    const tag = Buffer.alloc(16);
    // At 1 MiB the bound is 2^30.
    tag.writeUInt32LE(0x3fff_ffff);
    expect(bundleCloses(1024 * KIB, tag)).to.equal(true);
    tag.writeUInt32LE(0x4000_0000);
    expect(bundleCloses(1024 * KIB, tag)).to.equal(false);
    expect(bundleCloses(1024 * KIB + 1, tag)).to.equal(true);
    tag.fill(0xff);
    expect(bundleCloses(BUNDLE_MAX_BYTES - 1, tag)).to.equal(false);
    expect(bundleCloses(BUNDLE_MAX_BYTES, tag)).to.equal(true);
    tag.fill(0);
    expect(bundleCloses(BUNDLE_MIN_BYTES - 1, tag)).to.equal(false);
    expectError(() => bundleCloses(1, Buffer.alloc(15)), 'INVALID_ARGUMENT');
  });

  it('B2 are the same from the first common boundary on, however the sequences began', () => {
    const suffix = files('suffix', 3_000);
    const names = (front: readonly SmallFile[]): string[] => bundle([...front, ...suffix]).map((one) => one.name);
    const expected = names([]);
    fc.assert(
      fc.property(fc.nat(1_000), fc.nat(60), (seed, count) => {
        const theirs = names(files(`front ${seed}`, count));
        const common = theirs.findIndex((name) => expected.includes(name));
        expect(common, 'a common bundle').to.be.at.least(0);
        expect(theirs.slice(common)).to.deep.equal(expected.slice(expected.indexOf(theirs[common]!)));
      }),
      { numRuns: 60 },
    );
  });

  it('B2 fall into step a bundle or two after files were added or removed', () => {
    const before = files('walk', 12_000);
    const known = new Set(bundle(before).map((one) => one.name));
    let fresh = 0;
    const rounds = 60;
    for (let round = 0; round < rounds; round++) {
      const at = round * 130;
      const after = [...before.slice(0, at), ...files(`new ${round}`, round % 7), ...before.slice(at + (round % 5))];
      fresh += bundle(after).filter((one) => !known.has(one.name)).length;
    }
    expect(fresh / rounds).to.be.below(4);
  });

  it('B3 have 64 KiB to under 2.25 MiB of small files, the last of a backup aside', () => {
    for (const mean of [1 * KIB, 12 * KIB, 150 * KIB]) {
      const all = bundle(files(`mean ${mean}`, 3_000, mean));
      for (const one of all.slice(0, -1))
        expect(one.size).to.be.within(BUNDLE_MIN_BYTES, BUNDLE_MAX_BYTES + BUNDLE_FILE_LIMIT_BYTES);
    }
  });
});
