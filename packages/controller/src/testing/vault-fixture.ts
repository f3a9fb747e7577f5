// A vault on a real catalog and a disk in memory, and an agent that backs up lists of texts: what the vault's tests share.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { SYSTEM_DOMAIN_ID, deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import { open, seal, type SealedObject } from '@holdfast/shared/format/seal';
import { systemClock, type Clock } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../catalog/catalog.ts';
import {
  type BackupAnswer,
  type BackupCommitted,
  type BackupStream,
  type Caller,
  type ReadAnswer,
  type ReadStream,
  type Vault,
  type Want,
} from '../vault/contract.ts';
import type { VaultLimits } from '../vault/ingest-limits.ts';
import type { VaultStorage } from '../vault/storage.ts';
import { openVault } from '../vault/vault.ts';

export const systemKeys = deriveDomainKeys(Buffer.alloc(32, 7), SYSTEM_DOMAIN_ID, 0);
export const grantKey = Buffer.alloc(32, 9);

/** The code that `work` fails with. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing was thrown',
    (error: unknown) => (error instanceof HoldfastError ? error.code : String(error)),
  );
}

/** A host with one source, in a domain. */
export interface TestHost {
  readonly caller: Caller;
  readonly sourceId: string;
  readonly keys: DomainKeys;
}

export function newHost(domainId: string = randomUUID()): TestHost {
  const caller = { hostId: randomUUID(), domainId };
  return { caller, sourceId: randomUUID(), keys: deriveDomainKeys(Buffer.alloc(32, 5), domainId, 0) };
}

export interface TestVaultOptions {
  readonly catalog: Pick<Catalog, 'pool' | 'transaction'>;
  readonly storage: VaultStorage;
  readonly hosts: readonly TestHost[];
  readonly limits?: Partial<VaultLimits>;
  readonly soleWriter?: boolean;
  readonly clock?: Clock;
  readonly events?: string[];
  readonly quotaBytes?: number;
}

export function openTestVault(options: TestVaultOptions): Promise<Vault> {
  const {
    catalog,
    storage,
    hosts,
    limits = {},
    soleWriter = true,
    clock = systemClock,
    events,
    quotaBytes = 0,
  } = options;
  return openVault({
    catalog,
    storage,
    clock,
    log: (event, fields) => void events?.push(`${event} ${JSON.stringify(fields)}`),
    systemKeys,
    grantKey,
    soleWriter,
    quotaBytes: () => Promise.resolve(quotaBytes),
    limits: { packTargetBytes: 8 * 1024, ...limits },
    describeSource: (sourceId) => {
      const host = hosts.find((one) => one.sourceId === sourceId);
      const names = {
        hostName: 'web-1',
        sourceName: 'site',
        sourceType: 'files',
        domainName: 'default',
        domainManaged: true,
        domainKeyEpoch: 0,
        sourceSpec: Buffer.alloc(0),
        hostRecordPublicKey: Buffer.alloc(32),
      };
      return Promise.resolve(host && { hostId: host.caller.hostId, domainId: host.caller.domainId, ...names });
    },
  });
}

export interface TestObject extends SealedObject {
  readonly kind: number;
  readonly references: readonly TestObject[];
}

export function chunk(host: TestHost, text: string): TestObject {
  return { ...seal(host.keys, ObjectKind.chunk, [], Buffer.from(text)), kind: ObjectKind.chunk, references: [] };
}

export function node(host: TestHost, references: readonly TestObject[], text = 'node'): TestObject {
  return parent(host, ObjectKind.manifestNode, references, text);
}

export function record(host: TestHost, root: TestObject, text = 'record'): TestObject {
  return parent(host, ObjectKind.snapshotRecord, [root], text);
}

function parent(host: TestHost, kind: 2 | 3, references: readonly TestObject[], text: string): TestObject {
  const ids = references.map((reference) => reference.id);
  return { ...seal(host.keys, kind, ids, Buffer.from(text)), kind, references };
}

/** A small snapshot: texts as chunks, leaves of three chunks, a root. Everything in sending order, children first. */
export function snapshotOf(host: TestHost, texts: readonly string[], label: string): TestObject[] {
  const chunks = texts.map((text) => chunk(host, text));
  const leaves: TestObject[] = [];
  for (let first = 0; first < chunks.length; first += 3)
    leaves.push(node(host, chunks.slice(first, first + 3), `leaf ${first}`));
  const root = node(host, leaves, 'root');
  return [...chunks, ...leaves, root, record(host, root, label)];
}

export async function beginOn(
  vault: Vault,
  host: TestHost,
  more: { sessionId?: string; baseSnapshotId?: Uint8Array } = {},
): Promise<BackupStream> {
  const none = new Uint8Array(0);
  return vault.beginBackup(host.caller, {
    sourceId: host.sourceId,
    jobId: '',
    sessionId: '',
    baseSnapshotId: none,
    ...more,
  });
}

/** Sends an object in pieces. */
export async function send(stream: BackupStream, object: TestObject, pieceBytes = 1 << 20): Promise<void> {
  const referenceProofs = Buffer.concat(object.references.map((reference) => reference.proof));
  for (let offset = 0; offset < object.envelope.length; offset += pieceBytes) {
    await stream.part({
      id: object.id,
      totalLength: object.envelope.length,
      offset,
      data: object.envelope.subarray(offset, offset + pieceBytes),
      referenceProofs: offset === 0 ? referenceProofs : Buffer.alloc(0),
    });
  }
}

export const someStats = {
  entries: 9,
  files: 8,
  bytesTotal: 7,
  bytesRead: 6,
  bytesNew: 5,
  bytesStored: 4,
  durationMs: 3,
};

export function commitOn(stream: BackupStream, recordId: Buffer, sequence: number): Promise<void> {
  return stream.commit({ recordId, sequence, stats: someStats, partial: false, warningsTotal: 2, startedAtMs: 1234 });
}

/** All answers of a stream until it ends; throws what ended it. */
export async function answersOf(stream: BackupStream): Promise<BackupAnswer[]> {
  const answers: BackupAnswer[] = [];
  for await (const answer of stream.answers) answers.push(answer);
  return answers;
}

/** One whole backup: sends `objects` (children first, the record last) and commits. */
export async function backUp(
  vault: Vault,
  host: TestHost,
  objects: readonly TestObject[],
  sessionId = '',
): Promise<BackupCommitted> {
  const stream = await beginOn(vault, host, { sessionId });
  const answers = answersOf(stream);
  answers.catch(() => undefined);
  try {
    for (const object of objects) await send(stream, object);
    await commitOn(stream, objects.at(-1)!.id, (stream.began.latest?.sequence ?? 0) + 1);
  } finally {
    stream.close();
  }
  const last = (await answers).at(-1);
  if (last?.kind !== 'committed') throw new Error('the stream ended without a commit');
  return last.committed;
}

/** Everything a grant reaches, by hex id: the plain bytes, or why it was not served. */
export async function readAll(stream: ReadStream, host: TestHost): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let wants: Want[] = [{ tag: 1n, parentId: stream.recordId, parentMac: stream.recordMac, references: [] }];
  while (wants.length > 0) {
    const next: Want[] = [];
    for (const answer of await serveAll(stream, wants)) {
      if (answer.kind === 'done') continue;
      const id = answer.id.toString('hex');
      if (found.has(id)) continue;
      if (answer.kind === 'notServed') {
        found.set(id, `! ${answer.reason}`);
        continue;
      }
      const opened = open(host.keys, answer.envelope, { id: answer.id });
      found.set(id, opened.plain.toString());
      const references = Array.from({ length: opened.references.length / 32 }, (_, index) => index);
      if (references.length > 0) next.push({ tag: 2n, parentId: answer.id, parentMac: answer.mac, references });
    }
    wants = next;
  }
  return found;
}

export async function serveAll(stream: ReadStream, wants: readonly Want[]): Promise<ReadAnswer[]> {
  const answers: ReadAnswer[] = [];
  for await (const answer of stream.serve(iterate(wants))) answers.push(answer);
  return answers;
}

async function* iterate<T>(values: readonly T[]): AsyncGenerator<T> {
  for (const value of values) yield await Promise.resolve(value);
}

/** The texts of a snapshot as read through a grant. */
export async function readSnapshot(vault: Vault, host: TestHost, snapshotId: Uint8Array): Promise<Map<string, string>> {
  const { grant } = await vault.grantOwn(host.caller, host.sourceId, snapshotId);
  return readAll(await vault.openRead(host.caller, grant), host);
}

/** What `readSnapshot` gives for an undamaged snapshot of these objects. */
export function plainOf(host: TestHost, objects: readonly TestObject[]): Map<string, string> {
  return new Map(objects.map((one) => [one.id.toString('hex'), open(host.keys, one.envelope).plain.toString()]));
}
