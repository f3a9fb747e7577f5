import { expect } from 'chai';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  backUp,
  chunk,
  codeOf,
  grantKey,
  newHost,
  openTestVault,
  readSnapshot,
  record,
  serveAll,
  snapshotOf,
} from '../testing/vault-fixture.ts';
import { SELF_REFERENCE, type Caller, type ReadStream, type Vault, type Want } from './contract.ts';
import { checkGrant, checkServedMac, makeGrant, servedMac } from './grant.ts';
import { planRanges } from './object-reader.ts';

describe('grants', () => {
  const to: Caller = {
    hostId: '11111111-2222-4333-8444-555555555555',
    domainId: '99999999-8888-4777-8666-555555555555',
  };
  const id = Buffer.alloc(32, 3);
  const grant = makeGrant(grantKey, to, id, 5000, Buffer.alloc(16, 1));

  it('G1 any byte changed, and any other length, is refused', async () => {
    expect(checkGrant(grantKey, to, grant, 4999).recordId.equals(id)).to.equal(true);
    for (let at = 0; at < grant.length; at++) {
      const forged = Buffer.from(grant);
      forged[at] = forged[at]! ^ 1;
      expect(await codeOf(attempt(() => checkGrant(grantKey, to, forged, 1)))).to.equal('NOT_ALLOWED');
      expect(await codeOf(attempt(() => checkGrant(grantKey, to, grant.subarray(0, at), 1)))).to.equal('NOT_ALLOWED');
    }
    expect(await codeOf(attempt(() => checkGrant(Buffer.alloc(32, 8), to, grant, 1)))).to.equal('NOT_ALLOWED');
  });

  it('G2 another host, another domain and a later time are refused', async () => {
    const others = [
      { ...to, hostId: to.domainId },
      { ...to, domainId: to.hostId },
    ];
    for (const caller of others)
      expect(await codeOf(attempt(() => checkGrant(grantKey, caller, grant, 1)))).to.equal('NOT_ALLOWED');
    expect(await codeOf(attempt(() => checkGrant(grantKey, to, grant, 5000)))).to.equal('NOT_ALLOWED');
  });

  it('G3 a MAC names one object under one grant', async () => {
    const open = checkGrant(grantKey, to, grant, 1);
    const mac = servedMac(grantKey, open, id);
    checkServedMac(grantKey, open, id, mac);
    const another = checkGrant(grantKey, to, makeGrant(grantKey, to, id, 5000, Buffer.alloc(16, 2)), 1);
    expect(await codeOf(attempt(() => checkServedMac(grantKey, another, id, mac)))).to.equal('NOT_ALLOWED');
    expect(await codeOf(attempt(() => checkServedMac(grantKey, open, Buffer.alloc(32), mac)))).to.equal('NOT_ALLOWED');
    expect(await codeOf(attempt(() => checkServedMac(grantKey, open, id, mac.subarray(1))))).to.equal('NOT_ALLOWED');
  });
});

describe('reads', () => {
  const host = newHost();
  const other = newHost(host.caller.domainId);
  const stranger = newHost();
  const texts = Array.from({ length: 40 }, (_, index) => `text ${index} `.repeat(index * 5));
  const objects = snapshotOf(host, texts, 'first');
  const snapshotId = objects.at(-1)!.id;
  const root = objects.at(-2)!;
  let catalog: Catalog;
  let vault: Vault;
  let nowMs = 1_000_000;

  before(async () => {
    catalog = await openTestCatalog();
    const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, after: () => ({ cancel: () => undefined }) };
    const storage = new MemoryDisk().mount(new Faults());
    const limits = { readAheadBytes: 3000, grantTtlMs: 1000 };
    vault = await openTestVault({ catalog, storage, hosts: [host, other, stranger], clock, limits });
    await backUp(vault, host, objects);
    await backUp(vault, other, snapshotOf(other, ['private to the other'], 'other'));
  });
  after(async () => {
    await vault.stop();
    await catalog.close();
  });

  const opened = async (): Promise<ReadStream> => {
    const { grant } = await vault.grantOwn(host.caller, host.sourceId, snapshotId);
    return vault.openRead(host.caller, grant);
  };
  const ofRecord = (stream: ReadStream, references: number[]): Want => ({
    tag: 5n,
    parentId: stream.recordId,
    parentMac: stream.recordMac,
    references,
  });

  it('serves the record, then what each served node refers to, in the order of the packs', async () => {
    const stream = await opened();
    const [self, done] = await serveAll(stream, [ofRecord(stream, [])]);
    expect(self).to.include({ kind: 'object', reference: SELF_REFERENCE, tag: 5n });
    expect(done).to.deep.equal({ kind: 'done', tag: 5n });

    const [rootAnswer] = await serveAll(stream, [ofRecord(stream, [0])]);
    if (rootAnswer?.kind !== 'object') throw new Error('the root was not served');
    expect(rootAnswer.envelope.equals(root.envelope)).to.equal(true);
    const leaves = {
      tag: 6n,
      parentId: root.id,
      parentMac: rootAnswer.mac,
      references: root.references.map((_, i) => i).toReversed(),
    };
    const answers = await serveAll(stream, [leaves]);
    const places = answers.flatMap((answer) =>
      answer.kind === 'object' ? [[answer.pack, answer.packOffset] as const] : [],
    );
    expect(places).to.have.length(root.references.length);
    expect(places.every(([pack, at], i) => i === 0 || places[i - 1]![0] !== pack || places[i - 1]![1] < at)).to.equal(
      true,
    );
    expect(new Set(answers.map((answer) => ('reference' in answer ? answer.reference : -1))).size).to.equal(
      answers.length,
    );
  });

  it('G4 a grant of another host, another domain or another time opens nothing', async () => {
    const { grant } = await vault.grantOwn(host.caller, host.sourceId, new Uint8Array(0));
    expect(await codeOf(attempt(() => vault.openRead(other.caller, grant)))).to.equal('NOT_ALLOWED');
    expect(await codeOf(attempt(() => vault.openRead(stranger.caller, grant)))).to.equal('NOT_ALLOWED');
    expect(await codeOf(attempt(() => vault.openRead(host.caller, Buffer.alloc(0))))).to.equal('NOT_ALLOWED');
    nowMs += 1000;
    expect(await codeOf(attempt(() => vault.openRead(host.caller, grant)))).to.equal('NOT_ALLOWED');
  });

  it("I8 a host gets no grant for another host's snapshot by asking for its own", async () => {
    expect(await codeOf(vault.grantOwn(other.caller, host.sourceId, snapshotId))).to.equal('NOT_FOUND');
    expect(await codeOf(vault.grantOwn(other.caller, other.sourceId, snapshotId))).to.equal('NOT_FOUND');
    expect(await codeOf(vault.grant(stranger.caller, snapshotId))).to.equal('NOT_FOUND');
    const theirs = await vault.grantOwn(other.caller, other.sourceId, new Uint8Array(0));
    expect(theirs.snapshotId.equals(snapshotId)).to.equal(false);
  });

  it('what the granted root does not reach cannot be asked for, whatever its id', async () => {
    const stream = await opened();
    const [rootAnswer] = await serveAll(stream, [ofRecord(stream, [0])]);
    if (rootAnswer?.kind !== 'object') throw new Error('the root was not served');
    const wrong: Want[] = [
      { ...ofRecord(stream, []), parentId: chunk(other, 'private to the other').id },
      { ...ofRecord(stream, []), parentMac: Buffer.alloc(32) },
      { ...ofRecord(stream, []), parentId: Buffer.alloc(31) },
      { tag: 1n, parentId: objects[0]!.id, parentMac: rootAnswer.mac, references: [] },
      ofRecord(stream, [1]),
      ofRecord(stream, [-1]),
      ofRecord(stream, [0.5]),
      ofRecord(
        stream,
        Array.from({ length: 4097 }, () => 0),
      ),
    ];
    for (const want of wrong) {
      expect(await codeOf(serveAll(stream, [want]))).to.be.oneOf([
        'NOT_ALLOWED',
        'PROTOCOL_VIOLATION',
        'LIMIT_EXCEEDED',
      ]);
    }
  });

  it('a reference asked for twice in one want is answered once', async () => {
    const stream = await opened();
    expect(await serveAll(stream, [ofRecord(stream, [0, 0, 0])])).to.have.length(2);
  });

  it('reads ahead no further than its window when nobody takes', async () => {
    const faults = new Faults();
    const storage = new MemoryDisk().mount(faults);
    const own = await openTestCatalog();
    const small = await openTestVault({
      catalog: own,
      storage,
      hosts: [host],
      limits: { readAheadBytes: 2000, packTargetBytes: 1000 },
    });
    await backUp(small, host, objects);
    const { grant } = await small.grantOwn(host.caller, host.sourceId, snapshotId);
    const stream = await small.openRead(host.caller, grant);
    const [rootAnswer] = await serveAll(stream, [ofRecord(stream, [0])]);
    if (rootAnswer?.kind !== 'object') throw new Error('the root was not served');
    const before = faults.calls.length;
    const all = { tag: 1n, parentId: root.id, parentMac: rootAnswer.mac, references: root.references.map((_, i) => i) };
    const iterator = stream.serve(forever(all))[Symbol.asyncIterator]();
    await iterator.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const reads = faults.calls.slice(before).filter((call) => call === 'read').length;
    expect(reads).to.be.within(1, 10);
    await iterator.return?.();
    await small.stop();
    await own.close();
  });

  it('a snapshot of shared content is read whole by each host through its own grant', async () => {
    const shared = [...objects.slice(0, -1), record(other, root, 'shared')];
    const committed = await backUp(vault, other, shared);
    expect((await readSnapshot(vault, other, committed.snapshotId)).size).to.equal(shared.length);
  });
});

describe('read planning', () => {
  it('sorts by pack and offset, joins what is near, and keeps ranges within their bound', () => {
    const at = (packSequence: number, offset: number, lengthBytes: number) => ({
      id: Buffer.alloc(32),
      place: { kind: 1, packId: String(packSequence), packSequence, offset, lengthBytes, absent: false },
    });
    const mib = 1 << 20;
    const ranges = planRanges([
      at(2, 0, 10),
      at(1, 3 * mib, mib),
      at(1, 0, mib),
      at(1, mib + 1000, mib),
      at(1, 9 * mib, 9 * mib),
    ]);
    expect(ranges.map((range) => range.map(({ place }) => `${place.packSequence}:${place.offset}`))).to.deep.equal([
      ['1:0', `1:${mib + 1000}`],
      [`1:${3 * mib}`],
      [`1:${9 * mib}`],
      ['2:0'],
    ]);
  });
});

async function attempt<T>(work: () => T | Promise<T>): Promise<T> {
  return work();
}

async function* forever<T>(value: T): AsyncGenerator<T> {
  for (;;) yield await Promise.resolve(value);
}
