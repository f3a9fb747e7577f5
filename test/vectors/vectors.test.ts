// The published vectors, held from two sides: the product recomputes them, and a reader that was written from the document
// alone (independent-reader.ts) reads them.

import { readFileSync } from 'node:fs';
import { decodeControllerRecord } from '@holdfast/shared/format/controller-record';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { open } from '@holdfast/shared/format/seal';
import { verifySnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { expect } from 'chai';
import { computeVectors, contentOf, idOf, master } from './compute-vectors.ts';
import {
  bundleCloses,
  gear,
  key,
  pieces,
  readEnvelope,
  readCommitRecord,
  readSnapshotRecord,
  sha256,
} from './independent-reader.ts';

type Vectors = ReturnType<typeof computeVectors>;

function published<Name extends keyof Vectors>(name: Name): Vectors[Name] {
  // JSON has the shape that print-vectors.ts gave it; the comparison with the recomputed vectors holds it to that.
  return JSON.parse(readFileSync(new URL(name, vectorsDirectory()), 'utf8')) as Vectors[Name];
}

/** Beside the sources, also when this runs from a build. */
function vectorsDirectory(): URL {
  return import.meta.url.includes('/test/dist/')
    ? new URL('../../vectors/', import.meta.url)
    : new URL('./', import.meta.url);
}

const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

describe('published test vectors', () => {
  const computed = computeVectors();

  it('keys, tags, chunking, bundles and records are what they were', () => {
    for (const name of ['keys.json', 'tags.json', 'chunking.json', 'bundles.json', 'records.json'] as const) {
      expect(computed[name], name).to.deep.equal(published(name));
    }
  });

  it('stored and LZ4 envelopes are sealed to the same bytes, and every envelope opens to what was sealed', () => {
    const vectors = published('envelopes.json');
    expect(vectors.map((vector) => vector.name)).to.deep.equal(computed['envelopes.json'].map((vector) => vector.name));
    expect(new Set(vectors.map((vector) => vector.kind))).to.have.property('size', 6);
    for (const [i, vector] of vectors.entries()) {
      const again = computed['envelopes.json'][i]!;
      if (vector.codec !== 'zstd') expect(again, vector.name).to.deep.equal(vector);
      const keys = deriveDomainKeys(master, vector.domainId, vector.keyEpoch);
      const opened = open(keys, bytes(vector.envelope), { id: bytes(vector.id) });
      expect(opened.plain.toString('hex'), vector.name).to.equal(vector.plain);
      expect(opened.kind).to.equal(vector.kind);
      expect(Buffer.from(opened.references).toString('hex')).to.equal(vector.references.join(''));
      expect(idOf(vector.envelope)).to.equal(vector.id);
    }
  });

  it('records decode, with the signature that was made', () => {
    const { snapshot, controller } = published('records.json');
    const references = Buffer.concat(snapshot.references.map(bytes));
    const { record } = verifySnapshotRecord(bytes(snapshot.payload), references, bytes(snapshot.publicKey));
    expect([record.domainId, record.hostId, record.sourceId]).to.deep.equal(['vectors', 'host-1', 'source-1']);
    expect(record.warnings[0]?.path).to.equal('caf\xe9/\xff');
    for (const { kind, payload } of controller) expect(decodeControllerRecord(bytes(payload)).kind).to.equal(kind);
  });
});

describe('a reader written from the document alone', () => {
  it('derives the same keys', () => {
    for (const vector of published('keys.json')) {
      const secret = bytes(vector.masterSecret);
      for (const purpose of ['mac', 'enc'] as const) {
        expect(key(purpose, secret, vector.domainId, vector.epoch).toString('hex')).to.equal(vector[purpose]);
      }
      for (const purpose of ['tag', 'gear', 'node'] as const) {
        expect(key(purpose, secret, vector.domainId).toString('hex')).to.equal(vector[purpose]);
      }
    }
  });

  it('opens every envelope', () => {
    const codecs = new Set<number>();
    for (const vector of published('envelopes.json')) {
      const envelope = bytes(vector.envelope);
      const read = readEnvelope(envelope, master, vector.domainId);
      expect(read.plain.toString('hex'), vector.name).to.equal(vector.plain);
      expect([read.kind, read.keyEpoch, read.references, read.proof]).to.deep.equal([
        vector.kind,
        vector.keyEpoch,
        vector.references,
        vector.proof,
      ]);
      expect(sha256(envelope).toString('hex')).to.equal(vector.id);
      codecs.add(read.codec);
    }
    expect(codecs).to.deep.equal(new Set([0, 1, 2]));
  });

  it('cuts at the same boundaries, and closes the same bundles', () => {
    const chunking = published('chunking.json');
    const table = gear(key('gear', master, chunking.domainId));
    expect(table.slice(0, 16)).to.deep.equal(chunking.gear);
    for (const cut of chunking.cuts) expect(pieces(contentOf(cut.content), table), cut.name).to.deep.equal(cut.pieces);
    for (const { length, tag, closes } of published('bundles.json'))
      expect(bundleCloses(length, bytes(tag))).to.equal(closes);
  });

  it('verifies the snapshot record, and not one for another manifest', () => {
    const { snapshot } = published('records.json');
    const references = Buffer.concat(snapshot.references.map(bytes));
    const read = readSnapshotRecord(bytes(snapshot.payload), references, bytes(snapshot.publicKey));
    const { domainId, hostId, sourceId } = snapshot;
    expect(read).to.deep.equal({ signed: true, domainId, hostId, sourceId });
    const other = readSnapshotRecord(bytes(snapshot.payload), seededBytes('other', 32), bytes(snapshot.publicKey));
    expect(other.signed).to.equal(false);
  });

  it('tells from a commit record whose snapshot it is', () => {
    const read = published('records.json').controller.map(({ payload }) => readCommitRecord(bytes(payload)));
    expect(read).to.deep.equal([
      {
        snapshotId: seededBytes('snapshot', 32).toString('hex'),
        domainName: 'default',
        hostName: 'web-1',
        sourceName: 'site',
        sourceSpec: seededBytes('source spec', 24).toString('hex'),
      },
      undefined,
      undefined,
      undefined,
    ]);
  });
});
