// Reading logs under grants: what a grant reaches, and what it doesn't.

import { expect } from 'chai';

import type { LogGap } from '@holdfast/shared/format/log-point';
import { open } from '@holdfast/shared/format/seal';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import { gapOf, pieceOf, rangeOf, storeLog, timeline1, timeline2, type TestPiece } from '../testing/log-fixture.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { codeOf, newHost, openTestVault } from '../testing/vault-fixture.ts';
import type { LogBound, LogReadStream, Vault } from './contract.ts';
import { packFileName } from './pack-format.ts';

describe('reading a stored log', () => {
  const host = newHost();
  const other = newHost(host.caller.domainId);
  const piece = (start: number, end: number, change = {}): TestPiece => pieceOf(host, rangeOf(start, end, change));
  const items: (TestPiece | LogGap)[] = [
    ...Array.from({ length: 9 }, (_, index) => piece(0x100 + index * 0x10, 0x110 + index * 0x10)),
    pieceOf(host, rangeOf(0, 0, { stream: timeline2, file: '00000002.history' }), 'a history'),
    piece(0x180, 0x190, { stream: timeline2 }),
  ];
  let catalog: Catalog;
  let disk: MemoryDisk;
  let vault: Vault;

  beforeEach(async () => {
    catalog = await openTestCatalog();
    disk = new MemoryDisk();
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host, other] });
    await storeLog(vault, host, ...items);
    await storeLog(vault, other, pieceOf(other, rangeOf(0x100, 0x110), 'of another source'));
  });
  afterEach(async () => {
    await vault.stop();
    await catalog.close();
  });

  const all: LogBound[] = [
    { stream: timeline1, from: 0n, to: 2n ** 63n },
    { stream: timeline2, from: 0n, to: 2n ** 63n },
  ];
  const reading = (bounds: readonly LogBound[] = all, who = host): LogReadStream =>
    vault.openLogRead(who.caller, vault.grantLog(who.caller, host.sourceId, bounds));
  const fetched = async (stream: LogReadStream, ids: readonly Buffer[]): Promise<string[]> => {
    const found: string[] = [];
    for await (const answer of stream.fetch(ids)) {
      if (answer.kind === 'notServed') found.push(`! ${answer.reason}`);
      else found.push(open(host.keys, answer.envelope, { id: answer.id }).plain.toString());
    }
    return found;
  };
  const idOf = (item: TestPiece | LogGap | undefined): Buffer => (item as TestPiece).id;

  it('lists what overlaps, in order, with the stream’s files before it, and serves it as it was sent', async () => {
    const stream = reading();
    const page = await stream.list({ stream: timeline1, start: 0x118n, end: 0x140n, withoutFiles: false });
    expect(page.segments.map(({ range }) => range.start.text)).to.deep.equal(['0/110', '0/120', '0/130']);
    expect(page.last).to.equal(true);
    expect(page.segments[0]!.range).to.deep.equal(rangeOf(0x110, 0x120));
    expect(await fetched(stream, page.segments.map(({ id }) => id).toReversed())).to.deep.equal([
      'log 0/130 0/140',
      'log 0/120 0/130',
      'log 0/110 0/120',
    ]);
    const second = await stream.list({ stream: timeline2, start: 0n, end: undefined, withoutFiles: false });
    expect(second.segments.map(({ range }) => range.file)).to.deep.equal(['00000002.history', '']);
    const without = await stream.list({ stream: timeline2, start: 0n, end: undefined, withoutFiles: true });
    expect(without.segments).to.have.length(1);
    expect((await stream.ends()).map((end) => end.stream.timeline)).to.deep.equal([2, 1]);
  });

  it('leaves out what a merged piece replaced, and still serves it to who has listed it', async () => {
    const stream = reading();
    await storeLog(vault, host, pieceOf(host, rangeOf(0x100, 0x120, { merged: true }), 'merged'));
    const page = await stream.list({ stream: timeline1, start: 0n, end: 0x130n, withoutFiles: false });
    expect(page.segments.map(({ range }) => range.end.text)).to.deep.equal(['0/120', '0/130']);
    expect(await fetched(stream, [idOf(items[0]), page.segments[0]!.id])).to.deep.equal(['log 0/100 0/110', 'merged']);
  });

  it('reaches nothing outside its bounds, its streams and its source', async () => {
    const stream = reading([{ stream: timeline1, from: 0x110n, to: 0x130n }]);
    const page = await stream.list({ stream: timeline1, start: 0n, end: undefined, withoutFiles: false });
    expect(page.segments.map(({ range }) => range.start.text)).to.deep.equal(['0/110', '0/120']);
    const foreign = pieceOf(other, rangeOf(0x100, 0x110), 'of another source');
    for (const id of [idOf(items[0]), idOf(items[3]), idOf(items[9]), foreign.id, Buffer.alloc(32)]) {
      expect(await codeOf(fetched(stream, [id]))).to.equal('NOT_ALLOWED');
    }
    const beyond = stream.list({ stream: timeline2, start: 0n, end: undefined, withoutFiles: false });
    expect(await codeOf(beyond)).to.equal('NOT_ALLOWED');
    expect(await codeOf(fetched(reading(), [foreign.id]))).to.equal('NOT_ALLOWED');
    expect(
      await codeOf(
        fetched(
          reading(),
          Array.from({ length: 65 }, () => idOf(items[0])),
        ),
      ),
    ).to.equal('PROTOCOL_VIOLATION');
  });

  it('G1, G2 refuses a grant with any byte changed, of another host, of another domain, expired, or for a snapshot', async () => {
    const grant = vault.grantLog(host.caller, host.sourceId, all);
    const opened = async (bytes: Buffer, who = host.caller): Promise<string> =>
      codeOf((async () => vault.openLogRead(who, bytes))());
    for (let index = 0; index < grant.length; index++) {
      const changed = Buffer.from(grant);
      changed[index]! ^= 1;
      expect(await opened(changed), `byte ${index}`).to.equal('NOT_ALLOWED');
    }
    expect(await opened(grant)).to.equal('nothing was thrown');
    expect(await opened(grant, other.caller)).to.equal('NOT_ALLOWED');
    expect(await opened(grant, { ...host.caller, domainId: newHost().caller.domainId })).to.equal('NOT_ALLOWED');
    expect(await opened(vault.grantLog(host.caller, host.sourceId, all, -1))).to.equal('NOT_ALLOWED');
    expect(await opened(Buffer.alloc(0))).to.equal('NOT_ALLOWED');
    expect(await codeOf((async () => vault.openRead(host.caller, grant))())).to.equal('NOT_ALLOWED');
  });

  it('8 says that a piece is damaged, notes it, and serves the rest', async () => {
    const { rows } = await catalog.pool.query<{ id: string; pack_offset: number }>(
      'select p.id, o.pack_offset from object o join pack p on p.sequence = o.pack_sequence where o.id = $1',
      [idOf(items[4])],
    );
    await vault.stop();
    const name = packFileName({ id: rows[0]!.id, domainId: host.caller.domainId });
    const bytes = Buffer.from(disk.file(name));
    bytes[rows[0]!.pack_offset + 50]! ^= 1;
    disk.replace(name, bytes);
    vault = await openTestVault({ catalog, storage: disk.mount(new Faults()), hosts: [host, other] });
    expect(await fetched(reading(), [idOf(items[3]), idOf(items[4]), idOf(items[5])])).to.deep.equal([
      'log 0/130 0/140',
      '! damaged',
      'log 0/150 0/160',
    ]);
    const { rows: absent } = await catalog.pool.query('select id from object where absent_since is not null');
    expect(absent).to.deep.equal([{ id: idOf(items[4]) }]);
  });

  it('serves nothing but log segments: no record of the controller’s', async () => {
    await storeLog(vault, host, gapOf(0x190, 0x1a0));
    const { rows } = await catalog.pool.query<{ record_id: Buffer }>('select record_id from log_gap');
    expect(await codeOf(fetched(reading(), [rows[0]!.record_id]))).to.equal('NOT_ALLOWED');
  });
});
