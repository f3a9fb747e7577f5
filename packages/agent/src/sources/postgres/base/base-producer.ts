// The thread that makes a base backup: reads the server's archives and writes their files to the snapshot.
//
// Relations are written page by page, so that a base costs what changed since the one before; the rest as small files and
// streams. The writer's calls block while too much is on its way; then nothing is read from the socket, and the server waits.
//
// Invariants (base.db.test.ts): B1 every file of the archives is in the snapshot, with its owner and mode; B2 a page that failed its
// checksum is named, and the base is suspect; B3 memory does not grow with the cluster.

import { BUNDLE_FILE_LIMIT_BYTES } from '@holdfast/shared/format/bundle';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { runProducer, type ProducerContext } from '../../../backup/producer/run-producer.ts';
import type { EntryMetadata, OpenStream, SnapshotWriter } from '../../../backup/snapshot-writer.ts';
import { madeEntry, writeWhole } from '../../made-entries.ts';
import { addressOf, connect } from '../connection.ts';
import { baseBackup, type BaseListener, type BasePosition, type Tablespace } from './base-backup.ts';
import { DATA_PATH, encodeFacts, FACTS_PATH, MANIFEST_PATH, TABLESPACES_PATH, type BaseFacts } from './base-facts.ts';
import type { BaseMade, BaseOrder } from './base.ts';
import { exportDatabases } from './export.ts';
import { askServer, serverTimeMs } from './server-facts.ts';
import { TarReader, type TarEntry, type TarListener } from './tar-reader.ts';

/** Relations below this are bundled: a map of their pages would cost more than it saves. */
const PAGED_FROM_BYTES = 128 * 1024;
const NO_BYTES = Buffer.alloc(0);
const TABLESPACE_LINK = /^pg_tblspc\/[^/]+$/;
/** Tables and indexes by their file node, their forks and further segments. */
const RELATION = /(^|\/)(base\/\d+|global|PG_\d+_\d+\/\d+)\/\d+(_(fsm|vm|init))?(\.\d+)?$/;

runProducer<BaseMade>(async (writer, data, context) => {
  const { settings, label, checkpoint } = data as BaseOrder;
  const address = addressOf(settings);
  const ordinary = await connect(address, { kind: 'ordinary', applicationName: `${label} base` });
  let replication;
  try {
    const server = await askServer(ordinary);
    const startAtMs = await serverTimeMs(ordinary);
    replication = await connect(address, { kind: 'replication', applicationName: `${label} base` });
    const files = new BaseFiles(writer, context, server.pageBytes);
    const options = { label, checkpoint, versionNumber: server.versionNumber };
    const { end, suspect } = await baseBackup(replication, options, files, context.signal);
    files.finish();
    const { start } = files;
    if (start === undefined || start.timeline !== end.timeline) {
      throw new HoldfastError('FAILED_PRECONDITION', 'the server was promoted while it was backed up', {
        hint: 'The next try takes it on its new timeline.',
      });
    }
    const endAtMs = await serverTimeMs(ordinary);
    await exportDatabases(settings, server.versionNumber, ordinary, writer, context);
    const facts: BaseFacts = {
      version: 1,
      serverVersion: server.version,
      serverVersionNumber: server.versionNumber,
      systemIdentifier: server.systemIdentifier,
      timeline: end.timeline,
      start: start.lsn,
      end: end.lsn,
      startAtMs,
      endAtMs,
      walFileBytes: server.walFileBytes,
      pageBytes: server.pageBytes,
      dataDirectory: server.dataDirectory,
      superuser: server.superuser,
      tablespaces: files.tablespaces.map(({ oid, location }) => ({ oid, location })),
    };
    writeWhole(writer, FACTS_PATH, madeEntry(endAtMs), encodeFacts(facts));
    return { facts, suspect };
  } finally {
    await Promise.allSettled([ordinary.end(), replication?.end()]);
  }
});

/** Archives and the manifest, as the server sends them. */
class BaseFiles implements BaseListener {
  readonly #writer: SnapshotWriter;
  readonly #context: ProducerContext;
  readonly #pageBytes: number;
  #tar: TarReader | undefined;
  #manifest: OpenStream | undefined;
  start: BasePosition | undefined;
  tablespaces: readonly Tablespace[] = [];

  constructor(writer: SnapshotWriter, context: ProducerContext, pageBytes: number) {
    this.#writer = writer;
    this.#context = context;
    this.#pageBytes = pageBytes;
  }

  started(start: BasePosition, tablespaces: readonly Tablespace[]): void {
    this.start = start;
    this.tablespaces = tablespaces.filter(({ oid }) => oid !== 0);
    this.#context.expect({ bytes: tablespaces.reduce((sum, { bytes }) => sum + bytes, 0) });
  }

  archive({ oid }: Tablespace): void {
    this.finish();
    const prefix = oid === 0 ? DATA_PATH : `${TABLESPACES_PATH}/${oid}`;
    this.#tar = new TarReader(new ArchivedFiles(this.#writer, this.#context, prefix, this.#pageBytes));
  }

  manifest(): void {
    this.finish();
    this.#manifest = this.#writer.stream(MANIFEST_PATH);
  }

  data(bytes: Buffer): void {
    this.#tar?.write(bytes);
    this.#manifest?.write(bytes);
  }

  warning(message: string): void {
    const file = /checksum verification fail\w+ in file "(?:\.\/)?([^"]+)"/.exec(message)?.[1] ?? '';
    const code = message.includes('checksum') ? 'checksum' : 'server';
    this.#writer.warn(code, file === '' ? '' : `${DATA_PATH}/${file}`, message);
  }

  /** Ends the newest archive, or the manifest. Throws PROTOCOL_VIOLATION when an archive breaks off. */
  finish(): void {
    this.#tar?.end();
    this.#manifest?.end(madeEntry(Date.now()));
    this.#tar = undefined;
    this.#manifest = undefined;
  }
}

/** Files of one archive, on their way to the writer. */
class ArchivedFiles implements TarListener {
  readonly #writer: SnapshotWriter;
  readonly #context: ProducerContext;
  readonly #prefix: string;
  readonly #pageBytes: number;
  #entry: TarEntry | undefined;
  #stream: OpenStream | undefined;
  /** A small file's content, as far as it has come: not in Buffer's pool, where each would keep 64 KiB for the tag beside it. */
  #small = NO_BYTES;
  #smallFilled = 0;

  constructor(writer: SnapshotWriter, context: ProducerContext, prefix: string, pageBytes: number) {
    this.#writer = writer;
    this.#context = context;
    this.#prefix = prefix;
    this.#pageBytes = pageBytes;
  }

  entry(entry: TarEntry): void {
    this.#context.throwIfCancelled();
    this.#entry = entry;
    this.#stream = entry.type === 'file' ? this.#openStream(entry) : undefined;
    const small = entry.type === 'file' && this.#stream === undefined;
    this.#small = small ? Buffer.allocUnsafeSlow(entry.size) : NO_BYTES;
    this.#smallFilled = 0;
  }

  data(bytes: Buffer): void {
    if (this.#stream === undefined) this.#smallFilled += bytes.copy(this.#small, this.#smallFilled);
    else this.#stream.write(bytes);
  }

  end(): void {
    const entry = this.#entry!;
    const { mode, uid, gid, user, group, mtimeMs } = entry;
    const metadata: EntryMetadata = { mode, uid, gid, user, group, mtimeMs };
    const path = this.#pathOf(entry);
    if (entry.type === 'directory') this.#writer.directory(path, metadata);
    else if (entry.type === 'symlink') this.#link(entry, metadata);
    else if (this.#stream === undefined) this.#writer.smallFile(path, metadata, this.#small);
    else this.#stream.end(metadata);
  }

  /** Where a tablespace was is in the facts. A link to there would lead a restore into it, and on this host it is in use. */
  #link(entry: TarEntry, metadata: EntryMetadata): void {
    if (TABLESPACE_LINK.test(entry.path)) return;
    this.#writer.symlink(this.#pathOf(entry), entry.linkTarget, metadata);
  }

  #openStream(entry: TarEntry): OpenStream | undefined {
    const path = this.#pathOf(entry);
    if (entry.size >= PAGED_FROM_BYTES && RELATION.test(entry.path)) return this.#writer.pages(path, this.#pageBytes);
    return entry.size >= BUNDLE_FILE_LIMIT_BYTES ? this.#writer.stream(path) : undefined;
  }

  #pathOf({ path }: TarEntry): string {
    return path === '' || path === '.' ? this.#prefix : `${this.#prefix}/${path}`;
  }
}
