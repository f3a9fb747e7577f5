import { expect } from 'chai';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { encodeControllerRecord } from '@holdfast/shared/format/controller-record';
import { deriveDomainKeys, SYSTEM_DOMAIN_ID } from '@holdfast/shared/format/keys';
import { seal } from '@holdfast/shared/format/seal';

import type { Catalog } from '../catalog/catalog.ts';
import { faultyCatalog } from '../testing/faulty-catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import {
  backUp,
  beginOn,
  codeOf,
  newHost,
  openTestVault,
  plainOf,
  readSnapshot,
  record,
  send,
  snapshotOf,
  systemKeys,
} from '../testing/vault-fixture.ts';
import { encodePackHeader, encodeFooter, encodeRecordHeader, PACK_HEADER_BYTES, packFileName } from './pack-format.ts';
import { rebuildCatalog } from './rebuild.ts';

const SNAPSHOT = `select domain_id, id, host_id, source_id, sequence, previous_id, commit_record_id, committed_at, started_at_ms,
  entries, files, bytes_total, bytes_read, bytes_new, bytes_stored, duration_ms, partial, warnings_total, damaged_at
  from snapshot order by domain_id, source_id, sequence`;
const OBJECT = `select domain_id, id, kind, pack_sequence, pack_offset, length_bytes, proof from object order by domain_id, id`;
const PACK = `select sequence, id, domain_id, class, marker, acknowledged_bytes, state from pack order by sequence`;

describe('rebuild from packs alone', () => {
  const host = newHost();
  const stranger = newHost();
  const neighbour = newHost(host.caller.domainId);
  const hosts = [host, stranger, neighbour];
  const first = snapshotOf(host, ['one', 'two', 'three', 'four'], 'first');
  const second = [...first.slice(0, -1), record(host, first.at(-2)!, 'second')];
  const foreign = snapshotOf(stranger, ['elsewhere'], 'first');
  let lost: Catalog;
  let fresh: Catalog;
  let disk: MemoryDisk;

  beforeEach(async () => {
    [lost, fresh] = await Promise.all([openTestCatalog(), openTestCatalog()]);
    disk = new MemoryDisk();
  });
  afterEach(() => Promise.all([lost.close(), fresh.close()]));

  const fill = async (): Promise<void> => {
    const limits = { packTargetBytes: 1000 };
    const vault = await openTestVault({ catalog: lost, storage: disk.mount(new Faults()), hosts, limits });
    await backUp(vault, host, first);
    await backUp(vault, host, second);
    await backUp(vault, stranger, foreign);
    const unfinished = await beginOn(vault, host);
    await send(unfinished, snapshotOf(host, ['uploaded, never committed'], 'x')[0]!);
    for await (const answer of unfinished.answers) if (answer.kind === 'stored') break;
    await vault.stop();
  };
  const rebuild = () => rebuildCatalog({ catalog: fresh, storage: disk.mount(new Faults()), systemKeys });
  const rows = async (catalog: Catalog, sql: string): Promise<unknown[]> => (await catalog.pool.query(sql)).rows;

  it('the rebuilt index, packs and snapshots equal the lost ones, and the vault goes on', async () => {
    await fill();
    const report = await rebuild();
    expect(report).to.include({ snapshots: 3 });
    expect(report.warnings).to.deep.equal([]);
    expect(report.incomplete).to.deep.equal([]);
    for (const sql of [SNAPSHOT, OBJECT, PACK]) expect(await rows(fresh, sql)).to.deep.equal(await rows(lost, sql));

    const vault = await openTestVault({ catalog: fresh, storage: disk.mount(new Faults()), hosts });
    expect(await readSnapshot(vault, host, second.at(-1)!.id)).to.deep.equal(plainOf(host, second));
    const third = [...first.slice(0, -1), record(host, first.at(-2)!, 'third')];
    await backUp(vault, host, third);
    expect((await vault.verify({})).damages).to.deep.equal([]);
    await vault.stop();
  });

  it('who is told what was committed may refuse; then nothing was written, and the next rebuild succeeds', async () => {
    await fill();
    const told: string[] = [];
    const admit = (commits: readonly { hostName: string; domainName: string }[]): Promise<void> => {
      told.push(...commits.map(({ hostName, domainName }) => `${domainName}/${hostName}`));
      return Promise.reject(new HoldfastError('FAILED_PRECONDITION', 'a sheet is missing'));
    };
    const refused = rebuildCatalog({ catalog: fresh, storage: disk.mount(new Faults()), systemKeys, admit });
    expect(await codeOf(refused)).to.equal('FAILED_PRECONDITION');
    expect(told).to.deep.equal(['default/web-1', 'default/web-1', 'default/web-1']);
    expect((await rebuild()).snapshots).to.equal(3);
  });

  it('the key of another controller is refused, not taken for a vault in which nothing was ever committed', async () => {
    await fill();
    const otherKeys = deriveDomainKeys(Buffer.alloc(32, 8), SYSTEM_DOMAIN_ID, 0);
    const refused = rebuildCatalog({ catalog: fresh, storage: disk.mount(new Faults()), systemKeys: otherKeys });
    expect(await codeOf(refused)).to.equal('FAILED_PRECONDITION');
    expect((await rebuild()).snapshots).to.equal(3);
  });

  it('packs without footers, as after a kill, are read whole and then finished', async () => {
    const faults = new Faults();
    const vault = await openTestVault({ catalog: lost, storage: disk.mount(faults), hosts });
    await backUp(vault, host, first);
    const killed = disk.afterKill();
    await vault.stop();
    disk = killed;
    const report = await rebuild();
    expect(report.snapshots).to.equal(1);
    expect(await rows(fresh, SNAPSHOT)).to.deep.equal(await rows(lost, SNAPSHOT));
    const again = await openTestVault({ catalog: fresh, storage: disk.mount(new Faults()), hosts });
    expect(await readSnapshot(again, host, first.at(-1)!.id)).to.deep.equal(plainOf(host, first));
    expect((await again.verify({})).damages).to.deep.equal([]);
    await again.stop();
  });

  it('I4 I5 a commit whose transaction failed is not brought back', async () => {
    for (let at = 1; ; at++) {
      disk = new MemoryDisk();
      await Promise.all(
        [lost, fresh].map((c) => c.pool.query('truncate pack, object, snapshot, vault_session, vault_writer')),
      );
      await Promise.all([lost, fresh].map((c) => c.pool.query('update vault_collection set target_id = null')));
      const faults = new Faults({ kind: 'fail', at, lasting: false, errno: 'EIO' });
      const vault = await openTestVault({
        catalog: faultyCatalog(lost, faults),
        storage: disk.mount(faults),
        hosts,
      }).catch(() => undefined);
      if (vault !== undefined) {
        await backUp(vault, host, first).catch(() => undefined);
        // Something after it, so that a record left behind would be acknowledged with what follows.
        await backUp(vault, neighbour, snapshotOf(neighbour, ['one'], 'neighbour')).catch(() => undefined);
        await vault.stop().catch(() => undefined);
        // What was given up is finished by the next start.
        await (await openTestVault({ catalog: lost, storage: disk.mount(new Faults()), hosts })).stop();
        await rebuild();
        const want = await rows(lost, SNAPSHOT);
        expect(await rows(fresh, SNAPSHOT), `call ${at}: ${faults.calls[at - 1]}`).to.deep.equal(want);
      }
      if (!faults.hit) break;
    }
  });

  it('a deleted snapshot stays deleted, and its successor still knows it', async () => {
    await fill();
    const payload = encodeControllerRecord({
      kind: 'delete',
      snapshotId: first.at(-1)!.id,
      domainId: host.caller.domainId,
      deletedAtMs: Date.now(),
      deletedBy: 'retention',
      reason: 'older than 30 days',
    });
    const sealed = seal(systemKeys, ObjectKind.controllerRecord, [], payload);
    const identity = {
      id: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
      domainId: host.caller.domainId,
      sequence: 999,
      packClass: 'nodes',
      marker: Buffer.alloc(16, 4),
    } as const;
    const header = { lengthBytes: sealed.envelope.length, kind: ObjectKind.controllerRecord, id: sealed.id };
    const end = PACK_HEADER_BYTES + 64 + sealed.envelope.length;
    disk.replace(
      packFileName(identity),
      Buffer.concat([
        encodePackHeader(identity),
        encodeRecordHeader(identity, PACK_HEADER_BYTES, header),
        sealed.envelope,
        encodeFooter(identity, end, [{ ...header, offset: PACK_HEADER_BYTES, proof: sealed.proof }]),
      ]),
    );
    const report = await rebuild();
    expect(report.snapshots).to.equal(2);
    const { rows: left } = await fresh.pool.query<{ previous_id: Buffer }>(
      'select previous_id from snapshot where source_id = $1',
      [host.sourceId],
    );
    expect(left[0]!.previous_id.equals(first.at(-1)!.id)).to.equal(true);
  });

  it('a pack whose header or footer is damaged gives its objects; a lost node leaves its snapshot flagged', async () => {
    await fill();
    const packs = disk.names().filter((name) => name.endsWith('.pack') && name.startsWith(host.caller.domainId));
    disk.file(packs[0]!).fill(0, 0, 112);
    disk.file(packs[1]!).fill(0, disk.file(packs[1]!).length - 50);
    const report = await rebuild();
    expect(report.warnings).to.have.length(1);
    expect(report.incomplete).to.deep.equal([]);
    const ids = 'select domain_id, id, kind, length_bytes, proof from object order by domain_id, id';
    expect(await rows(fresh, ids)).to.deep.equal(await rows(lost, ids));
  });

  it('a rebuild into a catalog that has a vault is refused, and so is a start on packs that the catalog does not know', async () => {
    await fill();
    const refused = rebuildCatalog({ catalog: lost, storage: disk.mount(new Faults()), systemKeys });
    expect(await codeOf(refused)).to.equal('FAILED_PRECONDITION');
    expect(await codeOf(openTestVault({ catalog: fresh, storage: disk.mount(new Faults()), hosts }))).to.equal(
      'FAILED_PRECONDITION',
    );
    expect(
      await codeOf(openTestVault({ catalog: lost, storage: new MemoryDisk().mount(new Faults()), hosts })),
    ).to.equal('FAILED_PRECONDITION');
  });
});
