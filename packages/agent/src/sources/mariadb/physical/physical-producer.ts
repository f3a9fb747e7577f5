// The thread that copies a server's files: mariadb-backup's stream into the snapshot, InnoDB's files page by page.
//
//     mariadb-backup ── pipe ──▶ XbstreamReader ──▶ data/… of the snapshot
//                                      └── files that come in between (the redo log) ──▶ a scratch file ──▶ the snapshot
//
// Hazard: half a copy that looks whole: the program's exit code counts, its last words, and every file's end.

import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fromText, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { runProducer, type ProducerContext } from '../../../backup/producer/run-producer.ts';
import type { EntryMetadata, OpenStream, SnapshotWriter } from '../../../backup/snapshot-writer.ts';
import { PHYSICAL_INDEX_PATH, type BaseIndex } from '../base-index.ts';
import type { DumpPosition } from '../dump/dump-splitter.ts';
import { RunningTool } from '../tools.ts';
import { XbstreamReader, type FileSink } from './xbstream.ts';

export interface PhysicalOrder {
  readonly tool: string;
  /** Without the directory that the program wants for its own files. */
  readonly args: readonly string[];
  /** Of InnoDB. */
  readonly pageBytes: number;
  readonly facts: Readonly<Record<string, string>>;
  readonly nowMs: number;
  readonly warnings: readonly string[];
}

async function copy(writer: SnapshotWriter, order: PhysicalOrder, context: ProducerContext): Promise<DumpPosition> {
  const metadata: EntryMetadata = { mode: 0o660, uid: 0, gid: 0, user: 'mysql', group: 'mysql', mtimeMs: order.nowMs };
  for (const warning of order.warnings) writer.warn('not-transactional', '', warning);
  const scratch = join(context.directory, 'mariadb-backup');
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const files = new StreamedFiles(writer, metadata, order.pageBytes, scratch);
  const reader = new XbstreamReader(files);
  const tool = new RunningTool(order.tool, [...order.args, `--target-dir=${scratch}`], ['ignore', 'pipe']);
  const cancel = (): void => void tool.child.kill('SIGTERM');
  context.signal.addEventListener('abort', cancel, { once: true });
  try {
    if (context.signal.aborted) cancel();
    for await (const bytes of tool.child.stdout ?? []) reader.push(bytes as Buffer);
    await tool.done();
    reader.finish();
    files.finish();
  } finally {
    context.signal.removeEventListener('abort', cancel);
    await tool.end();
    files.close();
    rmSync(scratch, { recursive: true, force: true });
  }
  context.throwIfCancelled();
  if (!tool.words.trimEnd().endsWith('completed OK!')) {
    throw new HoldfastError('FAILED_PRECONDITION', 'mariadb-backup ended well without saying that it completed');
  }
  const position = positionIn(files.binlogInfo);
  const index: BaseIndex = { version: 1, method: 'physical', facts: { ...order.facts }, position };
  writer.smallFile(fromText(PHYSICAL_INDEX_PATH), metadata, Buffer.from(JSON.stringify(index)));
  return position;
}

/** "mysql-bin.000002 <tab> 1595 <tab> 0-7-6"; absent when the server keeps no binary log. */
function positionIn(info: string): DumpPosition {
  const [file = '', offset = '0', gtid = ''] = info.trim().split('\t');
  return { file, offset: Number(offset), gtid };
}

const BINLOG_INFO = 'xtrabackup_binlog_info';
const COPY_BYTES = 1024 * 1024;
const INNODB = /(\.ibd|^ibdata\d+|^undo\d+)$/;

/** One file at a time goes straight on; what comes in between waits in a scratch file. */
class StreamedFiles implements FileSink {
  readonly #writer: SnapshotWriter;
  readonly #metadata: EntryMetadata;
  readonly #pageBytes: number;
  readonly #scratch: string;
  readonly #spooled = new Map<ByteString, number>();
  #open: { readonly path: ByteString; readonly stream: OpenStream } | undefined;
  binlogInfo = '';

  constructor(writer: SnapshotWriter, metadata: EntryMetadata, pageBytes: number, scratch: string) {
    this.#writer = writer;
    this.#metadata = metadata;
    this.#pageBytes = pageBytes;
    this.#scratch = scratch;
  }

  write(path: ByteString, offset: number, bytes: Buffer): void {
    if (path === BINLOG_INFO) this.binlogInfo += bytes.toString('utf8');
    // The redo log is written all along; the files come one after the other.
    if (this.#open === undefined && !this.#spooled.has(path) && !path.startsWith('ib_logfile')) {
      this.#open = { path, stream: this.#begin(path) };
    }
    if (this.#open?.path === path) {
      const { stream } = this.#open;
      if (offset > stream.length) stream.skip(offset - stream.length, 'hole');
      if (offset < stream.length) throw new HoldfastError('DAMAGED', `mariadb-backup went back within ${path}`);
      stream.write(bytes);
      return;
    }
    const fd = this.#spooled.get(path) ?? this.#spool(path);
    for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }

  end(path: ByteString): void {
    if (this.#open?.path !== path) return;
    this.#open.stream.end(this.#metadata);
    this.#open = undefined;
  }

  /** What waited goes to the snapshot. */
  finish(): void {
    const buffer = Buffer.alloc(COPY_BYTES);
    for (const [path, fd] of this.#spooled) {
      const stream = this.#begin(path);
      for (let at = 0; ;) {
        const read = readSync(fd, buffer, 0, COPY_BYTES, at);
        if (read === 0) break;
        stream.write(buffer.subarray(0, read));
        at += read;
      }
      stream.end(this.#metadata);
    }
  }

  close(): void {
    for (const fd of this.#spooled.values()) closeSync(fd);
    this.#spooled.clear();
  }

  #begin(path: ByteString): OpenStream {
    const target = `data/${path.replace(/^\.\//, '')}`;
    return INNODB.test(path) ? this.#writer.pages(target, this.#pageBytes) : this.#writer.stream(target);
  }

  #spool(path: ByteString): number {
    const fd = openSync(join(this.#scratch, `spooled-${this.#spooled.size}`), 'wx+', 0o600);
    this.#spooled.set(path, fd);
    return fd;
  }
}

// Last: it begins at once, and needs everything above.
runProducer(async (writer, data, context) => copy(writer, data as PhysicalOrder, context));
