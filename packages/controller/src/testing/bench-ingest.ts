// How fast one core takes objects in and gives them back, without TLS and gRPC: `./dev node packages/controller/src/testing/bench-ingest.ts`
// (with --conditions=holdfast-source). Embedded PostgreSQL with its syncs, packs on a real directory.

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { openCatalog } from '../catalog/catalog.ts';
import { openLocalDirectory } from '../vault/local-directory.ts';
import {
  answersOf,
  beginOn,
  chunk,
  commitOn,
  newHost,
  node,
  openTestVault,
  record,
  send,
  type TestObject,
} from './vault-fixture.ts';

const MIB = 1024 * 1024;
const directory = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
const catalog = await openCatalog({ directory: join(directory, 'catalog') });
const storage = await openLocalDirectory(join(directory, 'vault'));
const host = newHost();
const vault = await openTestVault({ catalog, storage, hosts: [host], limits: { packTargetBytes: 64 * MIB } });

for (const [label, sizeBytes, count] of [
  ['300 KiB chunks', 300 * 1024, 2000],
  ['1.5 MiB chunks', 1536 * 1024, 400],
  ['10 KiB chunks', 10 * 1024, 20_000],
] as const) {
  const chunks = Array.from({ length: count }, () =>
    chunk(
      host,
      randomBytes(sizeBytes / 2)
        .toString('hex')
        .slice(0, sizeBytes),
    ),
  );
  const bytes = chunks.reduce((sum, object) => sum + object.envelope.length, 0);
  const grant = await timed(`ingest, ${label}`, bytes, count, () => ingest(chunks));
  await timed(`read, ${label}`, bytes, count, () => readBack(grant));
}
await vault.stop();
await catalog.close();
rmSync(directory, { recursive: true });

/** Backs up, and answers a grant to read it all back. */
async function ingest(chunks: readonly TestObject[]): Promise<Buffer> {
  const stream = await beginOn(vault, host);
  const answers = answersOf(stream);
  for (const object of chunks) await send(stream, object);
  const leaves: TestObject[] = [];
  for (let first = 0; first < chunks.length; first += 500) leaves.push(node(host, chunks.slice(first, first + 500)));
  const root = node(host, leaves);
  const last = record(host, root);
  for (const object of [...leaves, root, last]) await send(stream, object);
  await commitOn(stream, last.id, (stream.began.latest?.sequence ?? 0) + 1);
  await answers;
  return (await vault.grantOwn(host.caller, host.sourceId, last.id)).grant;
}

async function timed<T>(label: string, bytes: number, objects: number, work: () => Promise<T>): Promise<T> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  const result = await work();
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const cpuSeconds = (used.user + used.system) / 1e6;
  const megabytes = bytes / 1e6;
  console.log(
    `${label}: ${megabytes.toFixed(0)} MB, ${objects} objects in ${seconds.toFixed(2)} s = ${(megabytes / seconds).toFixed(0)} MB/s wall, ` +
      `${(megabytes / cpuSeconds).toFixed(0)} MB per CPU second, ${(objects / seconds).toFixed(0)} objects/s`,
  );
  return result;
}

async function readBack(grant: Buffer): Promise<void> {
  const stream = await vault.openRead(host.caller, grant);
  const { parentId, parentMac } = { parentId: stream.recordId, parentMac: stream.recordMac };
  let next = [{ tag: 1n, parentId, parentMac, references: [0] }];
  for (let depth = 0; depth < 3; depth++) {
    const wants = next;
    next = [];
    async function* asked() {
      for (const want of wants) yield await Promise.resolve(want);
    }
    for await (const answer of stream.serve(asked())) {
      if (answer.kind === 'notServed') throw new Error(answer.message);
      if (answer.kind !== 'object' || answer.mac.length === 0) continue;
      const count = answer.envelope.readUInt32LE(8);
      next.push({
        tag: 1n,
        parentId: answer.id,
        parentMac: answer.mac,
        references: Array.from({ length: count }, (_, i) => i),
      });
    }
  }
}
