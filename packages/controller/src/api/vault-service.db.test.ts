// The service over a real connection: what travels, what is refused, what back-pressure holds.

import { expect } from 'chai';
import {
  createChannel,
  createClientFactory,
  createServer,
  type Channel,
  type Server,
  type ServerMiddleware,
} from 'nice-grpc';

import { errorsToStatus, statusToErrors } from '@holdfast/shared/rpc/status';
import {
  VaultDefinition,
  type BackupRequest,
  type ReadRequest,
  type VaultClient,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { LeanVaultDefinition } from '@holdfast/shared/rpc/vault-messages';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { systemClock } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../catalog/catalog.ts';
import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { codeOf, newHost, openTestVault, snapshotOf, type TestObject } from '../testing/vault-fixture.ts';
import type { Vault } from '../vault/contract.ts';
import type { CallerContext } from './caller.ts';
import { vaultService } from './vault-service.ts';

describe('vault service', () => {
  const host = newHost();
  // The last one does not shrink, and travels in several parts.
  const large = seededBytes('several parts', 1_500_000).toString('hex');
  const objects = snapshotOf(host, ['one', 'x'.repeat(100), large], 'first');
  let catalog: Catalog;
  let vault: Vault;
  let server: Server<CallerContext>;
  let channel: Channel;
  let client: VaultClient;
  let caller: CallerContext['caller'];

  before(async () => {
    catalog = await openTestCatalog();
    vault = await openTestVault({ catalog, storage: new MemoryDisk().mount(new Faults()), hosts: [host] });
    const identify: ServerMiddleware<CallerContext> = (call, context) =>
      call.next(call.request, { ...context, caller, peerAddress: '' });
    server = createServer()
      .use(errorsToStatus(() => undefined))
      .use(identify);
    server.add(LeanVaultDefinition, vaultService({ vault, clock: systemClock }));
    const port = await server.listen('127.0.0.1:0');
    channel = createChannel(`127.0.0.1:${port}`);
    client = createClientFactory().use(statusToErrors).create(VaultDefinition, channel);
  });
  beforeEach(() => {
    caller = {
      kind: 'host',
      ...host.caller,
      hostName: 'web-1',
      domainName: 'acme',
      notAfter: new Date(),
      certificateFingerprint: '',
    };
  });
  after(async () => {
    channel.close();
    await server.shutdown();
    await vault.stop();
    await catalog.close();
  });

  const begin = (more = {}): BackupRequest => ({
    kind: {
      $case: 'begin',
      value: { sourceId: host.sourceId, jobId: '', sessionId: '', baseSnapshotId: Buffer.alloc(0), ...more },
    },
  });
  function* parts(object: TestObject): Generator<BackupRequest> {
    const totalLength = object.envelope.length;
    for (let offset = 0; offset < totalLength; offset += 1 << 20) {
      const data = object.envelope.subarray(offset, offset + (1 << 20));
      const referenceProofs = Buffer.concat(offset === 0 ? object.references.map((one) => one.proof) : []);
      yield { kind: { $case: 'part', value: { id: object.id, totalLength, offset, data, referenceProofs } } };
    }
  }
  const commit = (sequence: bigint): BackupRequest => ({
    kind: {
      $case: 'commit',
      value: {
        recordId: objects.at(-1)!.id,
        sequence,
        stats: { entries: 1n, files: 1n, bytesTotal: 1n, bytesRead: 1n, bytesNew: 1n, bytesStored: 1n, durationMs: 1n },
        partial: false,
        warningsTotal: 0n,
        startedAtMs: 1n,
        point: undefined,
      },
    },
  });
  const backup = async (requests: Iterable<BackupRequest>): Promise<string[]> => {
    const answers: string[] = [];
    for await (const answer of client.backup(slowly(requests))) answers.push(answer.kind!.$case);
    return answers;
  };

  it('carries a backup and its restore', async () => {
    const probe: BackupRequest = { kind: { $case: 'probe', value: { batch: 3n, ids: objects[0]!.id } } };
    const answers = await backup([begin(), probe, ...objects.flatMap((object) => [...parts(object)]), commit(1n)]);
    expect(answers[0]).to.equal('began');
    expect(answers).to.include('probed').and.to.include('stored');
    expect(answers.at(-1)).to.equal('committed');

    const { grant, snapshotId } = await client.grantOwn({ sourceId: host.sourceId, snapshotId: Buffer.alloc(0) });
    expect(Buffer.from(snapshotId).equals(objects.at(-1)!.id)).to.equal(true);
    const found = new Map<string, Buffer[]>();
    let parents: { id: Buffer; mac: Buffer; references: number[] }[] = [];
    const ask = async (first: boolean): Promise<void> => {
      const wants = parents;
      parents = [];
      async function* requests(): AsyncGenerator<ReadRequest> {
        yield { kind: { $case: 'open', value: { grant } } };
        for (const { id, mac, references } of wants) {
          yield { kind: { $case: 'want', value: { tag: 1n, parentId: id, parentMac: mac, references } } };
        }
      }
      for await (const { kind } of client.read(requests())) {
        if (kind?.$case === 'opened' && first)
          parents = [{ id: kind.value.recordId, mac: kind.value.recordMac, references: [0] }];
        if (kind?.$case !== 'part') continue;
        const id = kind.value.id.toString('hex');
        found.set(id, [...(found.get(id) ?? []), kind.value.data]);
        const object = objects.find((one) => one.id.toString('hex') === id)!;
        const references = object.references.map((_, index) => index);
        if (kind.value.mac.length > 0) parents.push({ id: object.id, mac: kind.value.mac, references });
      }
    };
    for (let depth = 0; depth < 4; depth++) await ask(depth === 0);
    for (const object of objects.slice(0, -1)) {
      expect(Buffer.concat(found.get(object.id.toString('hex')) ?? []).equals(object.envelope)).to.equal(true);
    }
  });

  it('messages out of their place, and a client that hangs up, end the stream clearly', async () => {
    expect(await codeOf(backup([commit(1n)]))).to.equal('PROTOCOL_VIOLATION');
    expect(await codeOf(backup([begin(), begin()]))).to.equal('PROTOCOL_VIOLATION');
    expect(await codeOf(backup([begin(), { kind: undefined }]))).to.equal('PROTOCOL_VIOLATION');
    expect(await codeOf(backup([]))).to.equal('PROTOCOL_VIOLATION');
    expect(await codeOf(backup([begin()]))).to.equal('CANCELLED');
    expect(await codeOf(backup([begin({ sessionId: 'x'.repeat(100) })]))).to.equal('PROTOCOL_VIOLATION');
    expect(await codeOf(backup([begin(), commit(2n ** 63n)]))).to.equal('PROTOCOL_VIOLATION');
  });

  it('threat 44 whoever is no host is refused on every call', async () => {
    caller = { kind: 'anonymous' };
    expect(await codeOf(backup([begin()]))).to.equal('UNAUTHENTICATED');
    expect(await codeOf(client.grantOwn({ sourceId: host.sourceId, snapshotId: Buffer.alloc(0) }))).to.equal(
      'UNAUTHENTICATED',
    );
    const reading = (async () => {
      for await (const answer of client.read(slowly([]))) expect(answer).to.equal(undefined);
    })();
    expect(await codeOf(reading)).to.equal('UNAUTHENTICATED');
  });
});

async function* slowly<T>(values: Iterable<T>): AsyncGenerator<T> {
  for (const value of values) yield await Promise.resolve(value);
}
