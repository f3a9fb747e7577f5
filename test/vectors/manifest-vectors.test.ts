// The published vectors of manifest nodes, held from two sides, like the others (vectors.test.ts).

import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { manifestVectors } from './compute-manifest-vectors.ts';
import { boundaryHash, readLeaf, readPageTags } from './independent-manifest-reader.ts';

function published(): ReturnType<typeof manifestVectors> {
  const directory = import.meta.url.includes('/test/dist/') ? '../../vectors/' : './';
  // JSON has the shape that print-vectors.ts gave it; the comparison with the recomputed vectors holds it to that.
  const text = readFileSync(new URL(`${directory}manifest.json`, import.meta.url), 'utf8');
  return JSON.parse(text) as ReturnType<typeof manifestVectors>;
}

describe('published test vectors of manifest nodes', () => {
  it('every byte is what it was', () => {
    expect(manifestVectors()).to.deep.equal(published());
  });

  it('a reader written from the document alone reads every field of a leaf', () => {
    const { leaf } = published();
    const read = readLeaf(Buffer.from(leaf.payload, 'hex'), Buffer.from(leaf.references, 'hex'));
    expect(read).to.deep.equal(leaf.entries);
  });

  it('it reads page tags, too', () => {
    const { payload, ...rest } = published().pageTags;
    expect(readPageTags(Buffer.from(payload, 'hex'))).to.deep.equal(rest);
  });

  it('boundary hashes are HMAC-SHA-256, written out or not', () => {
    const { nodeKey, boundaryHashes } = published();
    for (const { of, message, hash } of boundaryHashes) {
      expect(boundaryHash(Buffer.from(nodeKey, 'hex'), Buffer.from(message, 'hex')), of).to.equal(hash);
    }
  });
});
