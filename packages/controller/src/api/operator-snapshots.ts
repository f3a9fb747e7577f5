// The operator's calls that look into snapshots.
//
// Hazard: a listing of millions of entries. Everything is streamed in batches, and a reader that is slow slows the reading.
//
// Tested in permissions.db.test.ts, and by the end-to-end tests on snapshots that an agent made.

import { fromBytes, toBytes } from '@holdfast/shared/base/byte-string';
import type { Difference } from '@holdfast/shared/format/manifest/diff';
import type {
  DeepPartial,
  DiffEntry,
  OperatorServiceImplementation,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import { compileGlob } from '../browse/glob.ts';
import { chooseSnapshot, listSnapshots, type Snapshot } from '../browse/snapshots.ts';
import type { Domain } from '../fleet/domains.ts';
import { findSource, sourcesById } from '../fleet/sources.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { entryToWire, fullName, snapshotToWire } from './operator-wire.ts';
import type { OperatorContext } from './permissions.ts';

type Calls = Pick<
  OperatorServiceImplementation<OperatorContext>,
  'listSnapshots' | 'getSnapshot' | 'listEntries' | 'diffSnapshots' | 'findEntries' | 'readFile'
>;

/** Entries of a batch: some hundred bytes each, so a batch is far below the limit of a message. */
const BATCH_ENTRIES = 256;
const FILE_DEFAULT_BYTES = 16 * 1024 * 1024;
/** Whatever is asked for: beyond that a restore is the way. */
const FILE_MAX_BYTES = 256 * 1024 * 1024;
const PART_BYTES = 1024 * 1024;

export function snapshotCalls(deps: OperatorDeps): Calls {
  const { pool } = deps.catalog;
  const choose = async (domain: Domain, id: Uint8Array, sourceName = '', atMs = 0n): Promise<Snapshot> => {
    const sourceId =
      sourceName === '' ? undefined : (await findSource(pool, domain.id, sourceName, { removed: true })).id;
    return await chooseSnapshot(pool, { domainId: domain.id, sourceId, id, atMs: Number(atMs) });
  };
  return {
    async listSnapshots(request, context) {
      const domain = context.scope().domain(request.domain);
      const source = await findSource(pool, domain.id, request.source, { removed: true });
      const snapshots = await listSnapshots(pool, source.id, request.limit);
      return { snapshots: snapshots.map((snapshot) => snapshotToWire(snapshot, fullName(source))) };
    },
    async getSnapshot(request, context) {
      const domain = context.scope().domain(request.domain);
      const snapshot = await choose(domain, request.snapshotId, request.source, request.atMs);
      const described = snapshotToWire(snapshot, await sourceNameOf(deps, snapshot));
      if (snapshot.warningsTotal === 0 || !domain.managed) return { snapshot: described, warnings: [] };
      const record = await (await deps.browser(domain)).record(snapshot.id);
      const warnings = record.warnings.map(({ code, path, message }) => ({ code, path: toBytes(path), message }));
      return { snapshot: described, warnings };
    },
    async *listEntries(request, context) {
      const domain = context.scope().domain(request.domain);
      const snapshot = await choose(domain, request.snapshotId);
      const browser = await deps.browser(domain);
      const entries = browser.entries(snapshot.id, plainPath(request.path), request.recursive);
      for await (const batch of batched(entries)) yield { entries: batch.map(entryToWire) };
    },
    async *diffSnapshots(request, context) {
      const domain = context.scope().domain(request.domain);
      const from = await choose(domain, request.fromSnapshotId);
      const to = await choose(domain, request.toSnapshotId);
      const within = plainPath(request.path);
      const differences = (await deps.browser(domain)).diff(from.id, to.id);
      const wanted = filtered(
        differences,
        ({ path }) => within === '' || path === within || path.startsWith(`${within}/`),
      );
      for await (const batch of batched(wanted)) yield { entries: batch.map(differenceToWire) };
    },
    async *readFile(request, context) {
      const domain = context.scope().domain(request.domain);
      const snapshot = await choose(domain, request.snapshotId);
      const asked = request.maxBytes === 0n ? FILE_DEFAULT_BYTES : Number(request.maxBytes);
      const maxBytes = Math.min(asked, FILE_MAX_BYTES);
      for await (const bytes of deps.fileContent(domain, snapshot.id, plainPath(request.path), maxBytes)) {
        context.signal.throwIfAborted();
        for (let at = 0; at < bytes.length; at += PART_BYTES) yield { data: bytes.subarray(at, at + PART_BYTES) };
      }
    },
    async *findEntries(request, context) {
      const domain = context.scope().domain(request.domain);
      const matches = compileGlob(request.pattern);
      const source = await findSource(pool, domain.id, request.source, { removed: true });
      const snapshots =
        request.snapshotId.length > 0
          ? [await choose(domain, request.snapshotId, request.source)]
          : await listSnapshots(pool, source.id, 0);
      const browser = await deps.browser(domain);
      for (const snapshot of snapshots) {
        const described = snapshotToWire(snapshot, fullName(source));
        for await (const batch of batched(browser.find(snapshot.id, matches))) {
          context.signal.throwIfAborted();
          yield { entries: batch.map((found) => ({ snapshot: described, entry: entryToWire(found) })) };
        }
      }
    },
  };
}

async function sourceNameOf(deps: OperatorDeps, snapshot: Snapshot): Promise<string> {
  const source = (await sourcesById(deps.catalog.pool, [snapshot.sourceId])).get(snapshot.sourceId);
  return source === undefined ? '' : fullName(source);
}

/** As a manifest has it: without slashes at the ends; '' and '.' are the root. */
function plainPath(path: Uint8Array): string {
  const text = fromBytes(path).replace(/^\/+|\/+$/g, '');
  return text === '.' ? '' : text;
}

function differenceToWire(difference: Difference): DeepPartial<DiffEntry> {
  return {
    change: difference.kind,
    ...('before' in difference ? { before: entryToWire(difference.before) } : {}),
    ...('after' in difference ? { after: entryToWire(difference.after) } : {}),
  };
}

async function* filtered<T>(items: AsyncIterable<T>, keep: (item: T) => boolean): AsyncGenerator<T, void, undefined> {
  for await (const item of items) if (keep(item)) yield item;
}

async function* batched<T>(items: AsyncIterable<T>): AsyncGenerator<T[], void, undefined> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < BATCH_ENTRIES) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
